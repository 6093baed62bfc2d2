"""The built-in plugins keep the promises that every plugin of their kind makes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from vsqlvault.config import AuthSettings, Settings
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
from vsqlvault_plugins.purge.methods import CryptoShred, PhysicalDelete, RetentionExpire
from vsqlvault_plugins.report.evidence import ByPurpose, LegalHolds, PurgeCompliance, Summary, UndefinedPolicies

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
        params=[Summary, ByPurpose, PurgeCompliance, UndefinedPolicies, LegalHolds], ids=lambda kind: kind.name
    )
    def report_section(self, request: pytest.FixtureRequest) -> ReportSection:
        return request.param()
