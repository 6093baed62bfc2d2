"""Every number of the report, counted once more by reading all entries and all rows of the logs, on a vault with a history."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.fixtures import NewDatabase
from vsqlvault.errors import VaultError
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, Storage
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, EntryKey, EntryState, ValueEncoding
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import format_time
from vsqlvault.report_html.page import report_page
from vsqlvault.service.compliance.report_schema import report_schema
from vsqlvault.service.entries.requests import Preconditions, StoreRequest
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_retention_policy, an_access_policy, storing
from vsqlvault.testing.vaults import a_vault

DAY = timedelta(days=1)
MAXIMUM = {"card": 365, "cold": 40, "empty": 10}
CRYPTOPERIODS = {"akv:": 90, "akv:old": 30}


@dataclass(frozen=True)
class Lived:
    """A report, once more the same, and all that it was counted from."""

    report: dict[str, Any]
    again: dict[str, Any]
    entries: Sequence[Entry]
    accesses: Sequence[AccessRecord]
    purges: Sequence[PurgeRecord]
    at: datetime


async def _all(page: Any) -> list[Any]:
    rows: list[Any] = []
    while found := await page(LogQuery(limit=500, oldest_first=True, after=rows[-1].position if rows else None)):
        rows += found
    return [row.record for row in rows]


async def _entries(storage: Storage, now: datetime) -> list[Entry]:
    found: list[Entry] = []
    for purpose in MAXIMUM:
        for state in (EntryState.ACTIVE, EntryState.EXPIRED):
            # The retention_limit is left out, so "expired" is by the entries' own times; every entry is in one of the two.
            found += await storage.entries(EntryQuery(purpose=purpose, now=now, limit=1000, state=state))
    return found


async def _live(vault: Vault) -> None:
    """Store, replace, purge, sweep, shred and deny; some entries and keys are old."""
    admin, owner, other = a_call("vault-admin", Role.ADMIN), a_call("payments"), a_call("shop")
    for purpose, days in MAXIMUM.items():
        method = "crypto-shred" if purpose == "cold" else "physical-delete"
        justification = "chargebacks" if purpose == "card" else None
        wanted = a_retention_policy(
            purpose, max_retention_days=days, default_ttl_days=None, purge_method=method, justification=justification
        )
        await vault.rules.policies.save_retention_policy(admin, wanted)
    await vault.rules.policies.save_access_policy(admin, an_access_policy("tellers"))
    await vault.rules.policies.save_access_policy(admin, an_access_policy("short-lived"))
    await vault.rules.policies.delete_access_policy(admin, "short-lived")

    async def store(key: tuple[str, str], **fields: Any) -> None:
        usual: dict[str, Any] = {
            "value": b"cipher", "encoding": ValueEncoding.UTF_8, "algorithm_hint": "AES-256-GCM", "key_ref": "akv:new",
            "metadata": "{}", "expires_at": None, "access_policy": "owner-only", "preconditions": Preconditions(),
        }  # fmt: skip
        await vault.entries.store(owner, EntryKey(*key), StoreRequest(**usual | fields))

    now = (await vault.queue.read()).now
    for number in range(6):
        await store(("card", f"c{number}"), algorithm_hint=None if number == 4 else "AES-256-GCM")
        await store(("cold", f"k{number}"), key_ref=None if number == 2 else "plain-key", access_policy="nowhere")
    await store(("card", "c1"), value=b"second", key_ref="akv:newer", access_policy="tellers")
    for key in (("card", "c2"), ("cold", "k3")):
        await vault.entries.purge(owner, EntryKey(*key), Preconditions())
    old = {"created_at": now - DAY * 60, "updated_at": now - DAY * 60}
    aged = [
        storing("to-sweep", key_ref="akv:gone", **old, expires_at=now - timedelta(hours=5)),
        storing("to-shred", purpose="cold", key_ref="akv:gone", **old, expires_at=now + DAY),
    ]
    await vault.storage.commit(aged)
    await vault.purge.sweeper.sweep(admin)
    left = [
        storing("overdue", key_ref="akv:old-1", **old, expires_at=now - DAY * 3),
        storing("waiting", key_ref="akv:old-1", **old, expires_at=now - timedelta(hours=2)),
        storing("by-maximum", purpose="cold", key_ref="akv:x", **old, expires_at=now + DAY * 300),
        storing("ending", key_ref="akv:x", **old, expires_at=now + DAY * 20),
    ]
    await vault.storage.commit(left)
    for call, name in ((owner, "c0"), (other, "c0"), (other, "c1"), (owner, "missing"), (other, "c3")):
        try:
            await vault.entries.retrieve(call, EntryKey("card", name))
        except VaultError:
            continue
    await vault.queue.drain()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Lived:
    directory: Path = tmp_path_factory.mktemp("numbers")
    settings = {
        "storage": {"database_url": new_database(directory)},
        "compliance": {"cryptoperiods": CRYPTOPERIODS},
        "auth": {
            "api_keys": [
                {"app": "payments", "key_sha256": "a" * 64, "purposes": ["card", "cold"]},
                {"app": "idle", "key_sha256": "b" * 64, "purposes": ["card"]},
            ]
        },
    }

    async def run() -> Lived:
        async with a_vault(directory, settings=settings) as vault:
            await _live(vault)
            at = (await vault.queue.read()).now
            accesses = [row for row in await _all(vault.storage.access_log) if row.at < at]
            purges = await _all(vault.storage.purge_log)
            auditor = a_call("auditor", Role.AUDITOR)
            report = await vault.compliance.report.write(auditor, at)
            again = await vault.compliance.report.write(auditor, at)
            return Lived(report, again, await _entries(vault.storage, at), accesses, purges, at)

    return asyncio.run(run())


def _ends(lived: Lived, entry: Entry) -> datetime:
    return entry.effective_expires_at(MAXIMUM[entry.purpose])


def test_no_section_has_failed(lived: Lived) -> None:
    assert [name for name, member in lived.report.items() if member == {"failed": True}] == []


def test_the_same_instant_gives_the_same_bytes(lived: Lived) -> None:
    assert report_page(lived.report) == report_page(lived.again)
    assert lived.report == lived.again


def test_it_is_as_its_schema_says(lived: Lived) -> None:
    jsonschema.Draft202012Validator(report_schema()).validate(lived.report)


def test_its_schema_refuses_a_section_with_another_result(lived: Lived) -> None:
    schema = jsonschema.Draft202012Validator(report_schema())
    sections = [name for name, member in lived.report.items() if isinstance(member, dict) and "result" in member]
    assert len(sections) > 10
    for name in sections:
        assert not schema.is_valid({**lived.report, name: {**lived.report[name], "result": "good"}}), name


@pytest.mark.parametrize("purpose", [*MAXIMUM, None])
def test_what_has_expired_and_what_is_overdue(lived: Lived, purpose: str | None) -> None:
    figures = lived.report["retention_and_purge"]["figures"]
    shown = figures["by_purpose"][purpose] if purpose else figures
    entries = [entry for entry in lived.entries if purpose in {None, entry.purpose}]
    ends = [_ends(lived, entry) for entry in entries]
    expired = [end for end in ends if end <= lived.at]
    assert shown["expired_not_purged"] == len(expired)
    assert shown["overdue"] == sum(end <= lived.at - DAY for end in ends)
    assert shown["oldest_expired_at"] == (format_time(min(expired)) if expired else None)
    if purpose:
        assert shown["active"] == len(ends) - len(expired)
    purges = [row for row in lived.purges if purpose in {None, row.purpose}]
    assert shown["purged_in_period"] == len(purges)
    lags = sorted(row.purged_at - row.expired_at for row in purges if row.purged_at >= row.expired_at)
    ranks = [lags[math.ceil(len(lags) * share / 100) - 1].total_seconds() for share in (50, 99, 100)] if lags else []
    lag = shown["lag"] and [shown["lag"][name] for name in ("p50_seconds", "p99_seconds", "max_seconds")]
    assert (lag or []) == ranks


def test_the_history_has_something_of_everything(lived: Lived) -> None:
    assert {row.reason.value for row in lived.purges} == {"requested", "replaced", "expired"}
    assert lived.report["retention_and_purge"]["figures"]["overdue"] == 2
    assert lived.report["retention_and_purge"]["figures"]["lag"]["purges"] == 2
    assert lived.report["denied_access"]["figures"]["denied_rows"] > 0


def test_purges_by_reason_and_method(lived: Lived) -> None:
    figures = lived.report["retention_and_purge"]["figures"]
    assert figures["purged_by_reason"] == Counter(row.reason.value for row in lived.purges)
    assert figures["purged_by_method"] == Counter(row.method for row in lived.purges)


def test_algorithm_hints(lived: Lived) -> None:
    figures = lived.report["stored_data"]["figures"]
    assert figures["by_algorithm_hint"] == Counter(entry.algorithm_hint or "(none given)" for entry in lived.entries)
    assert figures["without_algorithm_hint"] == 1


def test_keys_with_their_ages_and_cryptoperiods(lived: Lived) -> None:
    figures = lived.report["key_inventory"]["figures"]
    names = Counter((entry.purpose, entry.key_ref) for entry in lived.entries if entry.key_ref)
    assert {(key["purpose"], key["key_ref"]): key["entries"] for key in figures["in_use"]} == names
    for key in figures["in_use"]:
        stored = [e.updated_at for e in lived.entries if (e.purpose, e.key_ref) == (key["purpose"], key["key_ref"])]
        assert (key["first_used_at"], key["last_used_at"]) == (format_time(min(stored)), format_time(max(stored)))
        assert key["age_days"] == (lived.at - min(stored)).days
    stale = {(key["purpose"], key["key_ref"]) for key in figures["in_use"] if key["stale"]}
    assert stale == {("card", "akv:old-1")}
    assert [(key["purpose"], key["key_ref"]) for key in figures["retirable"]] == [
        ("card", "akv:gone"),
        ("cold", "akv:gone"),
    ]
    assert figures["entries_without_key_ref"] == sum(entry.key_ref is None for entry in lived.entries)


def test_rows_by_operation_and_what_they_lack(lived: Lived) -> None:
    shown = lived.report["audit_coverage"]["figures"]
    assert shown["rows"] == len(lived.accesses)
    for operation, numbers in shown["by_operation"].items():
        rows = [row for row in lived.accesses if row.operation.value == operation]
        assert numbers["granted"] == sum(row.outcome.value == "granted" for row in rows)
        assert numbers["denied"] == sum(row.outcome.value == "denied" for row in rows)
        assert numbers["without_app"] == sum(row.app is None for row in rows)
    assert set(shown["by_operation"]) == {row.operation.value for row in lived.accesses}
    history = lived.report["log_history"]["figures"]
    assert history["oldest_access_row_at"] == format_time(lived.accesses[0].at)


def test_denials_by_reason_and_by_app(lived: Lived) -> None:
    figures = lived.report["denied_access"]["figures"]
    denied = [row for row in lived.accesses if row.outcome.value == "denied"]
    assert figures["by_reason"] == Counter(row.reason for row in denied)
    assert figures["by_app"] == Counter(row.app for row in denied)
    assert figures["denied_events"] == sum(row.count for row in denied)


def test_who_used_a_purpose_and_who_never_did(lived: Lived) -> None:
    card = lived.report["access_review"]["figures"]["by_purpose"]["card"]
    operations = {"store", "retrieve", "inspect", "list", "purge"}
    used = [
        row
        for row in lived.accesses
        if row.purpose == "card" and row.outcome.value == "granted" and row.operation.value in operations
    ]
    assert {app: of["rows"] for app, of in card["used_by"].items()} == Counter(row.app for row in used)
    assert card["used_by"]["payments"]["store"] == sum(row.operation.value == "store" for row in used)
    assert card["never_used"] == ["idle"]


def test_what_each_kind_of_app_may_do_is_what_the_policies_say(lived: Lived) -> None:
    policies = lived.report["access_review"]["figures"]["by_purpose"]["card"]["policies"]
    assert policies["owner-only"]["may"] == {
        "admin": ["inspect", "purge", "create"],
        "outsider": [],
        "owner": ["inspect", "purge", "retrieve", "create", "replace"],
        "purpose-holder": ["create"],
    }
    assert policies["tellers"]["apps_named"] == ["tellers"]


def test_entries_under_a_policy_that_is_not_defined_are_exceptions(lived: Lived) -> None:
    listed = lived.report["access_review"]["exceptions"]["listed"]
    assert ("cold", "nowhere") in {(each["purpose"], each["who"]) for each in listed}


def test_changes_of_policies(lived: Lived) -> None:
    figures = lived.report["policy_changes"]["figures"]
    shown = [(each["kind"], each["name"], each["version"], each["change"]) for each in figures["listed"]]
    assert sorted(shown) == [
        ("access", "short-lived", 1, "created"),
        ("access", "short-lived", 2, "deleted"),
        ("access", "tellers", 1, "created"),
        *(("retention", purpose, 1, "created") for purpose in ("card", "cold", "empty")),
    ]


def test_a_log_without_a_signature_is_an_exception(lived: Lived) -> None:
    member = lived.report["log_integrity"]
    leaves = member["figures"]["leaves"]
    assert member["figures"]["checkpoint_size"] is None
    assert (member["result"], member["exceptions"]["count"]) == (("exceptions", 1) if leaves else ("not_assessed", 0))


def test_what_must_be_denied_was(lived: Lived) -> None:
    assert set(lived.report["default_deny"]["figures"]["tests"].values()) == {"denied"}


def test_requirements_name_the_sections_that_speak_to_them(lived: Lived) -> None:
    for number, each in lived.report["requirements"]["by_id"].items():
        assert each["sections"] == [
            name for name, member in lived.report.items() if number in member_requirements(member)
        ]


def member_requirements(member: Any) -> list[str]:
    found = member.get("requirements", []) if isinstance(member, dict) else []
    return found if isinstance(found, list) else []
