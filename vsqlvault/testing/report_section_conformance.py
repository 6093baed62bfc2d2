"""Conformance tests of report sections, which use the ``ReportSection`` protocol and a vault with the section.

Example:
    class TestPurposes(ReportSectionConformance):
        @pytest.fixture
        def report_section(self):
            return Purposes()
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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
from vsqlvault.interfaces.report_section import (
    RESERVED_MEMBERS,
    HeldExpired,
    HeldOfPurpose,
    LogTree,
    Period,
    Probe,
    ReportContext,
    ReportSection,
    SelfTest,
)
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse, PurposeStatistics
from vsqlvault.model import pci_dss
from vsqlvault.model.access import Action
from vsqlvault.model.control import ControlChange, ControlState
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import SweepRuns
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.model.verification import RecordedVerification
from vsqlvault.testing.driving import LoopKit, driven, never_blocks
from vsqlvault.testing.samples import (
    T0,
    a_call,
    a_legal_hold,
    a_retention_policy,
    a_scrub,
    a_sweep,
    an_access_policy,
    an_attestation,
)
from vsqlvault.testing.vaults import a_vault, offering

AWKWARD = (
    "", " ", "0", "a" * 4000, "null", "__proto__", "'; --", "{0} %s $1", "quote\"back\\slash", "line\nline\x00\x1f",
    "\u00e9 e\u0301 \u05d0\u200f", "\U0001f510\U0010fffd",
)  # fmt: skip
PURPOSES = ("card", "ach", "0", "a" * 64, "a_-", "null")
COUNTER_OF_A_LARGE_VAULT = 10**12
BETWEEN_TWO_WRITINGS_SECONDS = 0.05


def _empty() -> ReportContext:
    return ReportContext(T0, EntryStatistics({}, 0, 0, {}), None, {}, {})


def _usual() -> ReportContext:
    entry_statistics = EntryStatistics({"card": PurposeStatistics(3, 1, 2, {"k1": 2}, 1)}, 7, 0, {})
    policies = {"card": a_retention_policy()}, {"tellers": an_access_policy()}
    return ReportContext(
        T0, entry_statistics, a_sweep(held=1), *policies, _credentials(), legal_holds={"case-17": a_legal_hold()}
    )


def _credentials() -> list[KnownCredential]:
    """Return credentials of two methods: unused, used, expired, revoked, created later, and of unknown age."""
    an_hour, a_year = timedelta(hours=1), timedelta(days=366)
    facts: list[dict[str, Any]] = [
        {"created_at": T0 - an_hour},
        {"created_at": T0 - a_year, "first_used_at": T0 - a_year, "last_used_at": T0, "purposes": None},
        {"created_at": T0 - a_year, "expires_at": T0, "roles": frozenset(Role)},
        {"created_at": T0 - a_year, "revoked_at": T0 - an_hour, "expires_at": T0 + a_year},
        {"created_at": T0 + an_hour},
        {"expires_at": T0 + an_hour, "identity": "jane"},
        {"first_used_at": T0 - an_hour, "last_used_at": T0 + an_hour, "method": "badge", "source": "settings"},
    ]
    usual: dict[str, Any] = {"app": "payments", "source": "storage", "method": "api-key"}
    return [KnownCredential(**usual | {"credential_id": f"c{number}"} | each) for number, each in enumerate(facts)]


def _with_a_history() -> ReportContext:
    """Return the context of a used vault: expired, purged and denied, with keys, probes, plugins and changes."""
    day = timedelta(days=1)
    lag = PurgeLag(3, timedelta(0), day, day * 2)
    return replace(
        _usual(),
        period=Period(T0 - day * 90, T0),
        evidence=Evidence(
            holdings=_holdings(),
            oldest_expired_at={"card": T0 - day, "gone": T0 - day * 2},
            purges=[PurgeCount("card", reason, "crypto-shred", 2) for reason in ("expired", "replaced")],
            lags={None: lag, "card": lag},
            lag_histogram=(1, 0, 1, 0, 1, 0, 0),
            retired_keys=[RetiredKey("card", name, T0 - day) for name in ("k0", "k9")],
            days=[DayCount((T0 - day * n).date(), stored=n, denied=1) for n in (3, 2, 1)],
            access=[_accesses(outcome, app, "card") for outcome in ("granted", "denied") for app in (None, "payments")],
            policy_changes=[PolicyChange("access", "tellers", n, n == 2, "carol", T0 - day) for n in (1, 2)],
            policy_changes_count=500,
            oldest_access_at=T0 - day * 400,
            oldest_purge_at=T0 - day * 300,
        ),
        key_uses=[("card", KeyRefUse(name, 1, 1, T0 - day * 200, T0)) for name in (None, "akv:kv:k1", "k2", "")],
        key_uses_complete=False,
        probes=[
            Probe("card", "tellers", asks, action, action is Action.STORE, asks == "owner", None)
            for asks in ("owner", "outsider")
            for action in Action
        ],
        probes_complete=False,
        log_verification=RecordedVerification(
            started_at=T0 - day, finished_at=T0 - day, leaves=5, checkpoints=2, waiting=1, entries=3, values=3,
            findings=1, listed=("leaf 3: the row does not match its hash in the tree",),
        ),
        log_tree=LogTree(9, Checkpoint("vault.example", 7, b"\0" * 32, "a note", T0)),
        self_tests=[SelfTest("a", passed=True), SelfTest("b", passed=False)],
        plugins=[PluginOrigin(name, "acme", "1.0") for name in ("b", "a")],
        storage={"product": "DirectoryStorage", "schema_version": 1, "odd": T0},
        held=HeldExpired({"card": HeldOfPurpose(2, 1, None)}, {"case-17": 2, "released": 1}, is_complete=False),
        sweeps=SweepRuns(
            count=9, purged=8, failed=1, not_completed=1,
            newest=(a_sweep(), a_sweep(failed=1), a_sweep(completed=False), a_sweep(purged=0, held=3)),
        ),
        scrubs=[a_scrub(started_at=T0 + day, finished_at=T0 + day, left=left) for left in ("a: b", None)],
        last_scrub=a_scrub(completed=False, left="a: b"),
        attestations=[an_attestation(2, is_clean=False), an_attestation(1, at=T0 - day * 100, note=None)],
        control_states=[
            ControlChange(name, 3, state, T0, "why")
            for name, state in zip(("sweep_ran", "log_signed", "of_another"), ControlState, strict=True)
        ],
        control_changes=[
            ControlChange(name, number, state, T0 - day * (4 - number), "why")
            for name in ("sweep_ran", "log_signed", "gone")
            for number, state in ((1, ControlState.OK), (2, ControlState.FAILING))
        ],
    )  # fmt: skip


def _holdings() -> list[Holding]:
    return [
        Holding(
            purpose=purpose, algorithm_hint=hint, access_policy=policy, owner_app="payments", active=9,
            expired=3, overdue=number, ending=(1, 2, 3),
        )
        for purpose in ("card", "gone")
        for number, hint in enumerate((None, "", "AES-256-GCM"))
        for policy in ("tellers", "undefined")
    ]  # fmt: skip


def _accesses(outcome: str, app: str | None, purpose: str) -> AccessCount:
    return AccessCount(
        operation="retrieve", outcome=outcome, reason="no-rule" if outcome == "denied" else None, purpose=purpose, app=app,
        rows=4, events=9, first_at=T0 - timedelta(days=3), last_at=T0 - timedelta(days=1), without_app=0 if app else 4,
        without_origin=1, without_subject=2, role="admin" if app else None, without_identity=3,
    )  # fmt: skip


def _awkward() -> ReportContext:
    counts = {name: number + 1 for number, name in enumerate(AWKWARD)}
    of = PurposeStatistics(sum(counts.values()), 5, 1, counts)
    retention = {
        purpose: a_retention_policy(
            purpose,
            default_ttl_days=None,
            purge_method=AWKWARD[number],
            description=AWKWARD[-1 - number],
            justification=AWKWARD[number],
            created_by=AWKWARD[number],
        )
        for number, purpose in enumerate(PURPOSES)
    }
    access = {"tellers": an_access_policy(evaluator="gone", parameters='{"a":{"b":[null]}}', description=AWKWARD[-1])}
    return ReportContext(
        datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        EntryStatistics(dict.fromkeys(PURPOSES, of), 0, 3, counts),
        a_sweep(finished_at=datetime(1970, 1, 1, tzinfo=UTC), failed=9, trigger=AWKWARD[6]),
        retention,
        access,
        [
            KnownCredential(credential_id=name, app=name, source=name, identity=name, method=name, created_at=T0)
            for name in AWKWARD
        ],
        legal_holds={
            f"h{number}": a_legal_hold(
                f"h{number}", case_reference=text, reason=text, selector=HoldSelector(owner_app=text, metadata="{}")
            )
            for number, text in enumerate(AWKWARD)
        },
    )


def _large() -> ReportContext:
    of = PurposeStatistics(
        *(COUNTER_OF_A_LARGE_VAULT,) * 3, {f"k{number}": COUNTER_OF_A_LARGE_VAULT for number in range(500)}
    )
    purposes = [f"p{number}" for number in range(200)]
    return ReportContext(
        T0,
        EntryStatistics(dict.fromkeys(purposes, of), COUNTER_OF_A_LARGE_VAULT, 0, {}),
        a_sweep(purged=COUNTER_OF_A_LARGE_VAULT),
        {purpose: a_retention_policy(purpose) for purpose in purposes},
        {},
        [
            KnownCredential(credential_id=f"c{number}", app="a", source="storage", method="api-key", created_at=T0)
            for number in range(2000)
        ],
    )


CONTEXTS = {
    "an empty vault": _empty(),
    "a usual vault": _usual(),
    "never swept": replace(_usual(), last_sweep=None),
    "a policy for what holds nothing": replace(_usual(), entry_statistics=_empty().entry_statistics),
    "unknown policies": replace(
        _usual(), entry_statistics=replace(_usual().entry_statistics, entries_by_undefined_policy={"nowhere": 4})
    ),
    "awkward names": _awkward(),
    "a large vault": _large(),
    "a vault with a history": _with_a_history(),
}


def _is_json(found: object) -> bool:
    """Whether a value consists of JSON types only, so that no conversion is needed."""
    if type(found) is dict:
        return all(type(name) is str and _is_json(member) for name, member in found.items())
    if type(found) is list:
        return all(_is_json(item) for item in found)
    return found is None or type(found) in {str, int, float, bool}


class ReportSectionConformance(LoopKit):
    """Subclass it, and define the fixture ``report_section``."""

    @pytest.fixture
    def report_section(self) -> ReportSection:
        """Return the section."""
        raise NotImplementedError("define the fixture report_section")

    def test_it_says_what_its_member_is_called(self, report_section: ReportSection) -> None:
        assert isinstance(report_section.name, str)
        assert report_section.name.strip()
        assert report_section.name not in RESERVED_MEMBERS

    @pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
    @driven
    async def test_it_writes_json_types_and_nothing_else(
        self, report_section: ReportSection, context: ReportContext
    ) -> None:
        written = await report_section.write(context)
        assert isinstance(written, Mapping)
        member = dict(written)
        assert _is_json(member), member
        assert json.loads(json.dumps(member, allow_nan=False, ensure_ascii=False).encode("utf-8")) == member
        assert pci_dss.unknown_ids(member.get("requirements", ())) == []

    @pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
    @driven
    async def test_it_writes_the_same_for_the_same_and_leaves_it_as_it_is(
        self, report_section: ReportSection, context: ReportContext
    ) -> None:
        before = copy.deepcopy(context)
        first = copy.deepcopy(dict(await report_section.write(context)))
        await asyncio.sleep(BETWEEN_TWO_WRITINGS_SECONDS)
        assert dict(await report_section.write(context)) == first
        assert dict(await report_section.write(_turned_round(context))) == first
        assert context == before

    @driven
    async def test_it_never_blocks_the_loop(self, report_section: ReportSection) -> None:
        await never_blocks(lambda: report_section.write(_usual()))

    @driven
    async def test_a_hundred_at_once_each_get_their_own_member(self, report_section: ReportSection) -> None:
        contexts = [list(CONTEXTS.values())[number % 6] for number in range(100)]
        alone = [dict(await report_section.write(context)) for context in contexts]
        together = await asyncio.gather(*(report_section.write(context) for context in contexts))
        assert [dict(written) for written in together] == alone

    @driven
    async def test_in_a_vault_its_member_is_in_the_report(self, report_section: ReportSection) -> None:
        admin = a_call("vault-admin", Role.ADMIN)
        plugin = offering("vault_report_sections", report_section)
        async with a_vault(self.directory, plugins=[plugin], block=["report-evidence"]) as vault:
            empty = await vault.compliance.report.write(admin)
            await vault.rules.policies.save_retention_policy(admin, a_retention_policy())
            filled = await vault.compliance.report.write(admin)
        for report in (empty, filled):
            assert list(report) == ["as_of", "period", report_section.name, "requirements"]
            assert report[report_section.name] != {"failed": True}


def _turned_round(context: ReportContext) -> ReportContext:
    """Return a context with the same content in another order."""
    entry_statistics = context.entry_statistics
    by_purpose = {
        purpose: replace(of, key_refs=_backwards(of.key_refs))
        for purpose, of in _backwards(entry_statistics.by_purpose).items()
    }
    undefined = _backwards(entry_statistics.entries_by_undefined_policy)
    return replace(
        context,
        entry_statistics=replace(entry_statistics, by_purpose=by_purpose, entries_by_undefined_policy=undefined),
        retention_policies=_backwards(context.retention_policies),
        access_policies=_backwards(context.access_policies),
        credentials=list(reversed(context.credentials)),
        evidence=_evidence_turned_round(context.evidence),
        key_uses=list(reversed(context.key_uses)),
        probes=list(reversed(context.probes)),
        plugins=list(reversed(context.plugins)),
        attestations=list(reversed(context.attestations)),
        control_states=list(reversed(context.control_states)),
        control_changes=list(reversed(context.control_changes)),
    )


def _evidence_turned_round(evidence: Evidence) -> Evidence:
    return replace(
        evidence,
        holdings=list(reversed(evidence.holdings)),
        purges=list(reversed(evidence.purges)),
        days=list(reversed(evidence.days)),
        retired_keys=list(reversed(evidence.retired_keys)),
        access=list(reversed(evidence.access)),
        policy_changes=list(reversed(evidence.policy_changes)),
        oldest_expired_at=_backwards(evidence.oldest_expired_at),
        lags=dict(reversed(list(evidence.lags.items()))),
    )


def _backwards(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return dict(reversed(list(mapping.items())))
