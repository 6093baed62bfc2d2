"""The built-in plugins keep the promises that every plugin of their kind makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority, Issued
from tests.support.settings import checked
from tests.support.tokens import ISSUER, SigningKey, claims, jwks, provider
from vsqlvault.config import AuthSettings, ComplianceSettings, ServerSettings, Settings
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.report_section import ReportSection
from vsqlvault.model.access import Action
from vsqlvault.testing import (
    AuthenticatorCase,
    AuthenticatorConformance,
    EvaluatorCase,
    PolicyEvaluatorConformance,
    PurgeMethodConformance,
    ReportSectionConformance,
    an_access_policy,
)
from vsqlvault_plugins.access.rules import RulesEvaluator
from vsqlvault_plugins.auth.api_key import ApiKeyAuthenticator
from vsqlvault_plugins.auth.jwt.plugin import JwtAuthenticator
from vsqlvault_plugins.auth.mtls import CertificateAuthenticator
from vsqlvault_plugins.purge.methods import CryptoShred, PhysicalDelete, RetentionExpire
from vsqlvault_plugins.report.access_review import AccessReview, DefaultDeny
from vsqlvault_plugins.report.attestations import Attestations
from vsqlvault_plugins.report.audit import AuditCoverage, DeniedAccess, LogHistory, PolicyChanges
from vsqlvault_plugins.report.certificates import Certificates, Cryptography
from vsqlvault_plugins.report.controls import Controls
from vsqlvault_plugins.report.credentials import Credentials
from vsqlvault_plugins.report.evidence import (
    ByPurpose,
    Hardening,
    LegalHolds,
    PurgeCompliance,
    Summary,
    UndefinedPolicies,
)
from vsqlvault_plugins.report.identities import (
    Factors,
    Identities,
    RejectedCredentials,
    UnusedCredentials,
    UserAccounts,
)
from vsqlvault_plugins.report.inventory import Software, Technologies
from vsqlvault_plugins.report.keys import KeyInventory
from vsqlvault_plugins.report.log_integrity import LogIntegrity
from vsqlvault_plugins.report.retention import Retention
from vsqlvault_plugins.report.reviews import BulkAccess, DataClasses, LogReview, TimeSettings
from vsqlvault_plugins.report.stored_data import StoredData
from vsqlvault_plugins.report.sweeps import Sweeps
from vsqlvault_plugins.report.system import NotAssessed, SystemState

SECRET = "vsk_S0me-Secret-Of-The-Tests-Only"


def settings_with(*digests: str) -> Settings:
    keys = [
        {"app": f"app-{number}", "key_sha256": digest, "purposes": ["card"], "roles": ["auditor"], "identity": "jane"}
        for number, digest in enumerate(digests)
    ]
    return Settings(auth=AuthSettings.model_validate({"api_keys": keys, "api_key_env": None}))


class TestApiKeyConforms(AuthenticatorConformance):
    @pytest.fixture(params=["a listed key", "a key from the environment"])
    def authenticator_case(self, request: pytest.FixtureRequest) -> AuthenticatorCase:
        digest, other = (hashlib.sha256(text.encode()).hexdigest() for text in (SECRET, "another"))
        if request.param == "a listed key":
            settings, environment, without = settings_with(digest, other), {}, settings_with(other)
        else:
            settings, environment = Settings(), {"VSQL_VAULT_API_KEY": SECRET}
            without = Settings(auth=AuthSettings(api_key_env=None))
        return AuthenticatorCase(
            ApiKeyAuthenticator(settings.auth, environment),
            {"x-vault-key": SECRET},
            SECRET,
            settings,
            without,
            unusable=settings_with(other, other),
        )


def jwt_settings(**issuer: str) -> Settings:
    table = {"issuer": ISSUER, "audience": "vault", "purposes_claim": "purposes", **issuer}
    return checked({"auth": {"jwt": [table]}})


class TestJwtConforms(AuthenticatorConformance):
    @pytest.fixture(params=["jwks_url", "jwks_file", "discovery"])
    def authenticator_case(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AuthenticatorCase]:
        with provider() as keys:
            key, issuer = SigningKey(), ISSUER
            keys.document = jwks(key)
            file = tmp_path / "keys.json"
            file.write_bytes(keys.document)
            place = {"jwks_url": keys.url} if request.param == "jwks_url" else {"jwks_file": str(file)}
            if request.param == "discovery":
                issuer, place = keys.origin, {}
                keys.discovery = {"issuer": issuer, "jwks_uri": keys.url}
            settings = jwt_settings(issuer=issuer, **place)
            token = key.token(claims(iss=issuer))
            yield AuthenticatorCase(
                JwtAuthenticator(settings.plugin("jwt")),
                {"authorization": f"Bearer {token}"},
                token,
                settings,
                without=jwt_settings(issuer="https://another.example", jwks_file=str(file)),
                unusable=jwt_settings(issuer=issuer, jwks_file=str(tmp_path / "none-such.json")),
            )


class TestCertificatesConform(AuthenticatorConformance):
    @pytest.fixture
    def authenticator_case(self, tmp_path: Path) -> AuthenticatorCase:
        authority = Authority(tmp_path)
        server, good, unmapped = authority.server(), authority.client("good"), authority.client("unmapped")
        no_use = authority.client("good", uses=[])

        def settings(*names: str) -> Settings:
            tls = {"cert_file": str(server.cert_file), "key_file": str(server.key_file), "client_cert": "optional"}
            tls["client_ca_file"] = str(authority.cert_file)
            mapped = [{"common_name": name, "app": f"app-{place}"} for place, name in enumerate(names)]
            return checked({"server": {"tls": tls}, "auth": {"mtls": mapped}})

        def der(issued: Issued) -> bytes:
            return issued.certificate.public_bytes(Encoding.DER)

        return AuthenticatorCase(
            CertificateAuthenticator(settings("good", "other")),
            {},
            "",
            settings("good", "other"),
            settings("other"),
            unusable=settings("good", "good"),
            certificate=der(good),
            bad_certificates={
                "unmapped": der(unmapped),
                "no use": der(no_use),
                "cut short": der(good)[:-1],
                "empty": b"",
            },
        )


class TestRulesConform(PolicyEvaluatorConformance):
    @pytest.fixture
    def evaluator_case(self) -> EvaluatorCase:
        document = an_access_policy()
        refused = [replace(document, parameters=json.dumps(parameters)) for parameters in ({"a": 1}, {"": None})]
        open_to_anybody = [("open-retrieve", Action.RETRIEVE), ("open-retrieve", Action.INSPECT)]
        return EvaluatorCase(RulesEvaluator(), [document, an_access_policy(rules={})], refused, open_to_anybody)


class TestPurgeMethodsConform(PurgeMethodConformance):
    @pytest.fixture(params=[PhysicalDelete, CryptoShred, RetentionExpire], ids=lambda kind: kind.name)
    def purge_method(self, request: pytest.FixtureRequest) -> PurgeMethod:
        return request.param()


class TestReportSectionsConform(ReportSectionConformance):
    @pytest.fixture(
        params=[
            Summary(),
            ByPurpose(),
            PurgeCompliance(),
            UndefinedPolicies(),
            LegalHolds(),
            Credentials(365),
            Retention(24),
            StoredData(),
            Sweeps(),
            KeyInventory(ComplianceSettings(cryptoperiods={"akv:": 90})),
            AccessReview(),
            DefaultDeny(),
            AuditCoverage(),
            LogHistory(),
            LogIntegrity(),
            Controls(),
            Attestations(90),
            DeniedAccess(),
            PolicyChanges(),
            SystemState(ServerSettings()),
            Hardening(),
            Software(),
            Technologies(),
            Certificates(ServerSettings()),
            Cryptography(Settings()),
            UserAccounts(),
            Identities(),
            UnusedCredentials(),
            RejectedCredentials(Settings()),
            Factors(),
            BulkAccess(),
            LogReview(),
            TimeSettings(),
            DataClasses(),
            NotAssessed(),
        ],
        ids=lambda section: section.name,
    )
    def report_section(self, request: pytest.FixtureRequest) -> ReportSection:
        return request.param
