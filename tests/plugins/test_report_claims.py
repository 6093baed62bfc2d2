"""Each section of the report stops supporting its claim once the evidence for the claim is taken away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, Issued
from vsqlvault.config import ServerSettings, Settings
from vsqlvault.interfaces.evidence import (
    AccessCount,
    DayCount,
    Evidence,
    Holding,
    PolicyChange,
    PurgeCount,
    PurgeLag,
    RetiredKey,
)
from vsqlvault.interfaces.report_section import LogTree, Period, Probe, ReportContext, ReportSection, SelfTest
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse, PurposeStatistics
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.access import Action
from vsqlvault.model.access_review import AccessList, AccessReview
from vsqlvault.model.control import ControlState
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.database_access import DatabaseAccess, DatabaseRole
from vsqlvault.model.log_archive import ArchivedRows
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import SweepRuns
from vsqlvault.model.sandbox import StepState
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.model.verification import RecordedVerification
from vsqlvault.proof.access_review import digest_of_list
from vsqlvault.service.access.probes import Probed
from vsqlvault.service.compliance.access_lists import access_lists
from vsqlvault.testing import T0, a_retention_policy, an_access_policy
from vsqlvault.testing.samples import a_control_change, a_scrub, a_sweep, an_access_review, an_attestation
from vsqlvault_plugins.report.certificates import Certificates
from vsqlvault_plugins.report.evidence import vault_report_sections

DAY = timedelta(days=1)
SETTINGS = Settings.model_validate({"compliance": {"cryptoperiods": {"akv:": 90}}})
SECTIONS: Mapping[str, ReportSection] = {each.name: each for each in vault_report_sections(SETTINGS)}
NEVER_SUPPORT = {
    "bulk_access", "cryptography", "data_classes", "factors", "log_review", "not_assessed",
    "rejected_credentials", "technologies", "time_settings", "trends",
}  # fmt: skip
"""Sections about facts that the vault can only show a part of, so that somebody else has to assess them."""


def rows(operation: str = "retrieve", outcome: str = "granted", **fields: Any) -> AccessCount:
    made: dict[str, Any] = {
        "reason": "no-rule" if outcome == "denied" else None, "purpose": "card", "app": "payments", "rows": 4, "events": 4,
        "first_at": T0 - DAY * 2, "last_at": T0 - DAY, "without_app": 0, "without_origin": 0, "without_subject": 0,
    }  # fmt: skip
    return AccessCount(operation=operation, outcome=outcome, **made | fields)


def known(name: str = "c1", **fields: Any) -> KnownCredential:
    made: dict[str, Any] = {
        "app": "payments", "source": "storage", "method": "api-key", "purposes": frozenset({"card"}),
        "created_at": T0 - DAY * 30, "expires_at": T0 + DAY * 30, "first_used_at": T0 - DAY * 3, "last_used_at": T0 - DAY,
        "is_strong": True,
    }  # fmt: skip
    return KnownCredential(credential_id=name, **made | fields)


def holding(**fields: Any) -> Holding:
    made: dict[str, Any] = {
        "purpose": "card", "algorithm_hint": "AES-256-GCM", "access_policy": "tellers", "owner_app": "payments",
        "active": 9, "expired": 0, "overdue": 0, "ending": (1, 2, 3),
    }  # fmt: skip
    return Holding(**made | fields)


ADMIN_ROWS = rows("change-access-policy", app="vault-admin", role="admin", purpose=None)
VERIFIED = RecordedVerification(
    started_at=T0 - DAY / 4, finished_at=T0 - DAY / 5, leaves=8, checkpoints=1, waiting=0, entries=9, values=9, findings=0
)  # fmt: skip
GRANTS = AccessList([("app", "payments", "", "card"), ("policy", "tellers", "1", "owner", "", "retrieve")])
ACCOUNTS = AccessList([("admin", "vault-admin", "jane")])


def reviewed(purpose: str | None = None, by: str | None = "jane", **fields: Any) -> AccessReview:
    accounts = None if purpose else {"may_sha256": digest_of_list(ACCOUNTS.may)}
    document = {
        "reviewed_by": {"app": "vault-admin", "identity": by}, "accounts": accounts,
        "purposes": [{"purpose": "card", "may_sha256": digest_of_list(GRANTS.may)}],
    }  # fmt: skip
    return an_access_review(purpose=purpose, document=json.dumps(document), **fields)


OWN_ROLE = DatabaseRole(name="vault", is_superuser=False, can_log_in=True, is_own=True, may_read=9, may_write=9)


def with_role(**fields: Any) -> ReportContext:
    other = replace(OWN_ROLE, name="analyst", is_own=False, **fields)
    return replace(LIVED, database_access=DatabaseAccess(roles=[OWN_ROLE, other], roles_examined=9))


LIVED = ReportContext(
    T0,
    EntryStatistics({"card": PurposeStatistics(9, 0, 1, {"akv:k": 9})}, 7, 0, {}),
    a_sweep(),
    {"card": a_retention_policy(justification="chargebacks", data_class="cardholder data")},
    {"tellers": an_access_policy()},
    (known(), known("admin", app="vault-admin", identity="jane", roles=frozenset({Role.ADMIN}), purposes=frozenset())),
    period=Period(T0 - DAY * 90, T0),
    evidence=Evidence(
        holdings=[holding()],
        access=[rows(), rows(outcome="denied"), ADMIN_ROWS],
        policy_changes=[PolicyChange("access", "tellers", 1, False, "carol", T0 - DAY)],
        policy_changes_count=1,
        oldest_access_at=T0 - DAY * 400,
        oldest_purge_at=T0 - DAY * 300,
    ),
    key_uses=[("card", KeyRefUse("akv:k", 9, 0, T0 - DAY * 30, T0 - DAY))],
    self_tests=[SelfTest("store under an undefined policy", True)],
    sweeps=SweepRuns(count=1, purged=7, newest=(a_sweep(started_at=T0 - DAY, finished_at=T0 - DAY),)),
    scrubs=[a_scrub()],
    control_states=[a_control_change()],
    attestations=[an_attestation(at=T0 - DAY)],
    access_lists={"card": GRANTS},
    database_access=DatabaseAccess(roles=[OWN_ROLE], roles_examined=9),
    role_list=ACCOUNTS,
    access_reviews=[reviewed()],
    log_tree=LogTree(8, Checkpoint("vault.example/audit", 8, bytes(32), "a note\n", T0)),
    log_verification=VERIFIED,
    hardening=[StepState("no_new_privs", "on", "set")],
    plugins=[PluginOrigin("report", "vsqlvault", "0.1.0")],
)
"""A vault with evidence for every claim."""


def evidence(**fields: Any) -> ReportContext:
    return replace(LIVED, evidence=replace(LIVED.evidence, **fields))


TAKEN_AWAY: list[tuple[str, str, ReportContext]] = [
    ("retention_and_purge", "entries", evidence(holdings=[])),
    ("retention_and_purge", "the justification", replace(LIVED, retention_policies={"card": a_retention_policy()})),
    ("retention_and_purge", "timely purges", evidence(holdings=[holding(expired=2, overdue=1)])),
    ("sweeps", "the sweeps", replace(LIVED, sweeps=SweepRuns())),
    (
        "sweeps",
        "timely sweeps",
        replace(LIVED, sweeps=SweepRuns(count=1, newest=(a_sweep(started_at=T0 - DAY * 3, finished_at=T0 - DAY * 3),))),
    ),
    ("sweeps", "the scrub", replace(LIVED, scrubs=[])),
    ("stored_data", "entries", evidence(holdings=[])),
    ("stored_data", "the algorithm", evidence(holdings=[holding(algorithm_hint=None)])),
    ("key_inventory", "the keys", replace(LIVED, key_uses=[])),
    ("access_review", "the grants", replace(LIVED, access_lists={})),
    ("access_review", "the review", replace(LIVED, access_reviews=[])),
    ("access_review", "the policies' answers", replace(LIVED, probes_complete=False)),
    ("access_review", "a recent review", replace(LIVED, access_reviews=[reviewed(due_at=T0)])),
    (
        "access_review",
        "the same grants",
        replace(LIVED, access_lists={"card": AccessList([("app", "batch", "", "card")])}),
    ),
    ("access_review", "the signature", replace(LIVED, review_faults={1: "its signature does not verify"})),
    ("access_review", "the verifier key", replace(LIVED, signatures_verified=False)),
    ("access_review", "a signed review", replace(LIVED, access_reviews=[reviewed(note=None)])),
    ("access_review", "the person", replace(LIVED, access_reviews=[reviewed(by=None)])),
    ("database_roles", "the catalogue", replace(LIVED, database_access=None)),
    (
        "database_roles",
        "the roles",
        replace(LIVED, database_access=DatabaseAccess(file={"mode": "0600", "others": False})),
    ),
    (
        "database_roles",
        "a private file",
        replace(LIVED, database_access=DatabaseAccess(file={"mode": "0644", "others": True})),
    ),
    ("database_roles", "no other reader", with_role(may_write=0)),
    ("database_roles", "no other superuser", with_role(is_superuser=True)),
    ("user_accounts", "the review", replace(LIVED, access_reviews=[])),
    ("user_accounts", "the review of all", replace(LIVED, access_reviews=[reviewed("card")])),
    ("user_accounts", "the signature", replace(LIVED, review_faults={1: "its signature does not verify"})),
    ("user_accounts", "the verifier key", replace(LIVED, signatures_verified=False)),
    ("user_accounts", "a recent review", replace(LIVED, access_reviews=[reviewed(due_at=T0)])),
    ("user_accounts", "the same accounts", replace(LIVED, role_list=AccessList([("admin", "mallory", "")]))),
    ("default_deny", "the tests", replace(LIVED, self_tests=())),
    ("default_deny", "the denial", replace(LIVED, self_tests=[SelfTest("store", False)])),
    ("credentials", "the credentials", replace(LIVED, credentials=())),
    ("credentials", "the strength", replace(LIVED, credentials=[known(is_strong=None)])),
    ("credentials", "a strong key", replace(LIVED, credentials=[known(is_strong=False)])),
    ("credentials", "the time of making", replace(LIVED, credentials=[known(created_at=None)])),
    ("credentials", "the expiry", replace(LIVED, credentials=[known(expires_at=None)])),
    ("credentials", "a short age", replace(LIVED, credentials=[known(created_at=T0 - DAY * 900)])),
    ("unused_credentials", "the credentials", replace(LIVED, credentials=())),
    ("unused_credentials", "the use", replace(LIVED, credentials=[known(last_used_at=T0 - DAY * 91)])),
    ("unused_credentials", "age and use", replace(LIVED, credentials=[known(created_at=None, last_used_at=None)])),
    ("identities", "the rows", evidence(access=[rows()])),
    ("identities", "the identity", evidence(access=[replace(ADMIN_ROWS, without_identity=1)])),
    ("audit_coverage", "the rows", evidence(access=[])),
    ("audit_coverage", "the app", evidence(access=[rows(without_app=1)])),
    ("audit_coverage", "a log without gaps", evidence(access=[rows(), rows("audit-gap")])),
    ("log_history", "the rows", evidence(oldest_access_at=None, oldest_purge_at=None)),
    ("log_history", "twelve months", evidence(oldest_access_at=T0 - DAY * 364)),
    ("log_integrity", "the rows", replace(LIVED, log_tree=None)),
    ("log_integrity", "the checkpoint", replace(LIVED, log_tree=LogTree(8, None))),
    ("log_integrity", "the verification", replace(LIVED, log_verification=None)),
    ("log_integrity", "a recent one", replace(LIVED, log_verification=replace(VERIFIED, finished_at=T0 - DAY * 2))),
    ("log_integrity", "a clean one", replace(LIVED, log_verification=replace(VERIFIED, findings=1, listed=("a row",)))),
    ("controls", "the checks", replace(LIVED, control_states=())),
    ("controls", "a working control", replace(LIVED, control_states=[a_control_change(state=ControlState.FAILING)])),
    (
        "controls",
        "the cause of a failure",
        replace(
            LIVED,
            control_changes=[a_control_change(state=ControlState.FAILING, at=T0 - DAY)],
            control_states=[a_control_change(number=2)],
        ),
    ),
    ("attestations", "the signature", replace(LIVED, attestations=[an_attestation(at=T0 - DAY, note=None)])),
    ("attestations", "the verifier key", replace(LIVED, signatures_verified=False)),
    ("attestations", "a valid signature", replace(LIVED, attestation_faults={1: "its signature does not verify"})),
    (
        "attestations",
        "timely attestations",
        replace(LIVED, attestations=[an_attestation(2, at=T0 - DAY), an_attestation(at=T0 - DAY * 94)]),
    ),
    ("attestations", "the attestation", replace(LIVED, attestations=())),
    ("attestations", "a recent attestation", replace(LIVED, attestations=[an_attestation(at=T0 - DAY * 91)])),
    ("attestations", "a clean attestation", replace(LIVED, attestations=[an_attestation(at=T0, is_clean=False)])),
    ("denied_access", "the denials", evidence(access=[rows()])),
    ("policy_changes", "the changes", evidence(policy_changes=[], policy_changes_count=0)),
    ("system_state", "the sandbox", replace(LIVED, hardening=())),
    ("system_state", "a working step", replace(LIVED, hardening=[StepState("landlock", "off", "no kernel support")])),
]


def result(section: ReportSection, context: ReportContext = LIVED) -> Any:
    return asyncio.run(_written(section, context))["result"]


async def _written(section: ReportSection, context: ReportContext) -> Mapping[str, Any]:
    return await section.write(context)


def certificates(issued: Issued, at: datetime) -> Any:
    tls = {"cert_file": str(issued.cert_file), "key_file": str(issued.key_file)}
    section = Certificates(ServerSettings.model_validate({"tls": tls}))
    return asyncio.run(_written(section, replace(LIVED, as_of=at)))


@pytest.mark.parametrize("name", sorted({name for name, _, _ in TAKEN_AWAY}))
def test_with_its_evidence_a_section_supports_its_claim(name: str) -> None:
    assert result(SECTIONS[name]) == "supports"


@pytest.mark.parametrize(
    ("name", "what", "context"), TAKEN_AWAY, ids=[f"{name}: {what}" for name, what, _ in TAKEN_AWAY]
)
def test_without_its_evidence_a_section_supports_nothing(name: str, what: str, context: ReportContext) -> None:
    assert result(SECTIONS[name], context) != "supports"


@pytest.mark.parametrize("name", sorted(NEVER_SUPPORT))
def test_what_the_vault_sees_only_in_part_is_assessed_by_somebody_else(name: str) -> None:
    member = asyncio.run(_written(SECTIONS[name], LIVED))
    assert (member["result"], bool(member["owner"])) == ("not_assessed", True)


def test_a_sandbox_that_is_not_known_is_no_exception_and_the_server_is_named() -> None:
    async def written() -> Mapping[str, Any]:
        return await SECTIONS["system_state"].write(replace(LIVED, hardening=()))

    member = asyncio.run(written())
    assert member["exceptions"]["count"] == 0
    assert (member["result"], member["owner"]) == (
        "not_assessed",
        "not assessed by this command: ask the server (GET /compliance/report)",
    )


@pytest.mark.parametrize("name", ["access_review", "user_accounts", "attestations"])
def test_signatures_that_cannot_be_verified_are_no_exception(name: str) -> None:
    member = asyncio.run(_written(SECTIONS[name], replace(LIVED, signatures_verified=False)))
    assert (member["result"], member["exceptions"]["count"]) == ("not_assessed", 0)
    assert member["owner"].startswith("not verified here")


PURGED_BY_VAULT = replace(
    evidence(access=[rows("purge", app="vsqlvault")]),
    probes=[Probe("card", "tellers", "owner", Action.PURGE, False, False, "no-rule")],
)


@pytest.mark.parametrize(("apps", "accused"), [((), []), (("vsqlvault",), ["vsqlvault"])])
def test_the_vault_itself_is_under_review_only_if_an_app_has_its_name(
    apps: tuple[str, ...], accused: list[str]
) -> None:
    credentials = [known(app=each, purposes=frozenset()) for each in apps]
    member = asyncio.run(_written(SECTIONS["access_review"], replace(PURGED_BY_VAULT, credentials=credentials)))
    assert [each["who"] for each in member["exceptions"]["listed"] if "no longer" in each["what"]] == accused
    policies = PolicySnapshot(1, {}, {"card": a_retention_policy()})
    lists = access_lists(policies, PURGED_BY_VAULT.evidence, Probed((), complete=True), credentials, T0)
    assert [app for _, app in lists.by_purpose["card"].did] == accused


def test_every_section_has_a_claim_test() -> None:
    assessed = {name for name, each in SECTIONS.items() if "result" in asyncio.run(_written(each, LIVED))}
    assert assessed - {name for name, _, _ in TAKEN_AWAY} - NEVER_SUPPORT == {"certificates", "software"}


COUNTED = evidence(
    purges=[PurgeCount("card", "expired", "physical-delete", 3)],
    lags={None: PurgeLag(3, DAY, DAY, DAY)},
    lag_histogram=(0, 0, 3, 0, 0, 0, 0),
    retired_keys=[RetiredKey("card", "akv:old", T0 - DAY)],
    days=[DayCount((T0 - DAY).date(), 1, 2, 3, 4)],
    access=[*LIVED.evidence.access, rows("authenticate", "denied"), rows("read-access-log")],
)
UNCOUNTED = evidence(access=[])
COUNT_ROWS = {
    "access_review", "audit_coverage", "bulk_access", "denied_access", "factors", "identities", "key_inventory", "log_review",
    "rejected_credentials", "retention_and_purge", "trends",
}  # fmt: skip
"""Sections with counts of rows that are dropped once they are archived."""

ONLY_ROWS_THAT_STAY = {"time_settings"}


def with_dropped_rows(context: ReportContext, until: datetime) -> ReportContext:
    made = ArchivedRows(
        archives=1, end=256, newest_row_at=until, places=["/archive"], absent_rows=250, min_days=92,
        min_days_from="settings", enforced_at=T0, enforced_by="keeper@host",
    )  # fmt: skip
    return replace(context, archived=made)


def test_the_sections_that_count_rows_of_the_logs_are_known() -> None:
    found = {
        name
        for name, each in SECTIONS.items()
        if asyncio.run(_written(each, COUNTED)) != asyncio.run(_written(each, UNCOUNTED))
    }
    assert found == COUNT_ROWS | ONLY_ROWS_THAT_STAY


@pytest.mark.parametrize("name", sorted(COUNT_ROWS))
def test_rows_of_the_period_that_were_dropped_are_an_exception(name: str) -> None:
    member = asyncio.run(_written(SECTIONS[name], with_dropped_rows(COUNTED, T0 - DAY * 60)))
    assert member["result"] == "exceptions"
    listed = [each for each in member["exceptions"]["listed"] if "are in archives" in each["what"]]
    assert len(listed) == 1


@pytest.mark.parametrize("name", sorted(COUNT_ROWS))
def test_dropped_rows_from_before_the_period_are_no_exception(name: str) -> None:
    before = with_dropped_rows(COUNTED, T0 - DAY * 91)
    assert asyncio.run(_written(SECTIONS[name], before)) == asyncio.run(_written(SECTIONS[name], COUNTED))


EMPTY = ReportContext(T0, EntryStatistics({}, 0, 0, {}), None, {}, {})


@pytest.mark.parametrize("name", sorted(SECTIONS.keys() - {"software"}))
def test_an_empty_vault_supports_nothing(name: str) -> None:
    member = asyncio.run(_written(SECTIONS[name], EMPTY))
    assert member.get("result") != "supports"


def test_software_names_every_loaded_library_with_its_version() -> None:
    member = asyncio.run(_written(SECTIONS["software"], LIVED))
    libraries = {each["name"]: each["version"] for each in member["figures"]["libraries"]}
    assert libraries.keys() >= {"pydantic", "pluggy", "cryptography"}
    assert all(libraries.values())
    assert member["population"] == len(libraries) + 1


EXCEPTIONS: Mapping[str, tuple[str, Callable[[], ReportContext]]] = {
    "a jump of the clock": ("time_settings", lambda: evidence(access=[rows("clock-jump")])),
    "a class of sensitive authentication data": (
        "data_classes",
        lambda: replace(LIVED, retention_policies={"card": a_retention_policy(data_class="CVV2, until authorised")}),
    ),
}


@pytest.mark.parametrize("what", EXCEPTIONS)
def test_what_speaks_against_a_claim_is_an_exception(what: str) -> None:
    name, context = EXCEPTIONS[what]
    assert result(SECTIONS[name], context()) == "exceptions"


def test_credentials_without_a_limit_of_rejections_are_an_exception() -> None:
    settings = Settings.model_validate({"auth": {"max_failures_per_minute": 0}})
    sections = {each.name: each for each in vault_report_sections(settings)}
    assert result(sections["rejected_credentials"]) == "exceptions"


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return Authority(tmp_path_factory.mktemp("certificates")).server()


class TestCertificates:
    def test_a_valid_certificate_supports_the_inventory_and_is_described(self, issued: Issued) -> None:
        member = certificates(issued, issued.certificate.not_valid_before_utc)
        (listed,) = member["figures"]["certificates"]
        assert (member["result"], member["population"]) == ("supports", 1)
        assert (listed["sha256"], listed["key"], listed["subject"]) == (issued.thumbprint, "EC secp256r1", "CN=server")

    @pytest.mark.parametrize(("left", "what"), [(timedelta(), "expired"), (DAY, "expires within 30 days")])
    def test_a_certificate_that_ends_is_an_exception(self, issued: Issued, left: timedelta, what: str) -> None:
        member = certificates(issued, issued.certificate.not_valid_after_utc - left)
        assert [each["what"] for each in member["exceptions"]["listed"]] == [what]

    def test_a_file_that_cannot_be_read_is_an_exception_and_no_population(self, issued: Issued, tmp_path: Path) -> None:
        member = certificates(replace(issued, cert_file=tmp_path / "none.pem"), T0)
        assert (member["population"], member["exceptions"]["listed"]) == (
            0,
            [{"what": "the file could not be read", "file": "none.pem"}],
        )

    def test_without_tls_the_operator_of_the_proxy_has_to_assess_it(self) -> None:
        member = asyncio.run(_written(Certificates(ServerSettings()), LIVED))
        assert (member["result"], member["population"]) == ("not_assessed", 0)
