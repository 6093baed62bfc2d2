"""Imports: owners and times are kept, rules apply, and what is there already is left unchanged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vsqlvault.errors import RoleRequired
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.purge import PurgeReason
from vsqlvault.proof.state_replay import StateReplay
from vsqlvault.service.entries.importer import ImportCount, Imported
from vsqlvault.service.entries.imports import Existing, ImportedEntry, ImportRules, Result
from vsqlvault.service.entries.requests import NO_PRECONDITIONS
from vsqlvault.service.log.state_check import check_state
from vsqlvault.service.log.verification import StorageSource
from vsqlvault.testing import T0, a_legal_hold

CREATED_AT = T0 - timedelta(days=10)


def imported(external_id: str = "imp-1", **fields: Any) -> ImportedEntry:
    made: dict[str, Any] = {
        "key": EntryKey(fields.pop("purpose", "card"), external_id),
        "value": b"imported",
        "encoding": ValueEncoding.UTF_8,
        "algorithm_hint": None,
        "key_ref": "k0",
        "metadata": "{}",
        "access_policy": "owner-only",
        "owner_app": "legacy",
        "owner_identity": "jo",
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT + timedelta(days=1),
        "expires_at": T0 + timedelta(days=20),
    }
    return ImportedEntry(**made | fields)


async def take(scene: Any, *entries: ImportedEntry, **rules: Any) -> list[Imported]:
    return await scene.vault.importer.take(scene.admin, entries, ImportRules(**rules))


async def result(scene: Any, entry: ImportedEntry, **rules: Any) -> Result:
    return (await take(scene, entry, **rules))[0].result


async def faults(scene: Any, entry: ImportedEntry, **rules: Any) -> list[tuple[str, str]]:
    taken = (await take(scene, entry, **rules))[0]
    assert taken.result is Result.REJECTED
    assert await stored(scene, entry.key.external_id, entry.key.purpose) is None
    return [(fault.field, fault.expected) for fault in taken.faults]


async def stored(scene: Any, external_id: str = "imp-1", purpose: str = "card") -> Any:
    return (await scene.vault.queue.read(EntryKey(purpose, external_id), with_value=True)).entry


async def replayed(scene: Any) -> list[str]:
    """Return what differs between the tables and the leaves."""
    storage = scene.storage.inner
    found = await check_state(storage, StorageSource(storage), StateReplay())
    return [str(each) for each in found.findings]


async def test_owner_and_times_are_kept(scene) -> None:
    assert await result(scene, imported()) is Result.CREATED
    entry = await stored(scene)
    assert (entry.owner_app, entry.owner_identity) == ("legacy", "jo")
    assert (entry.created_at, entry.updated_at) == (CREATED_AT, CREATED_AT + timedelta(days=1))
    assert entry.expires_at == T0 + timedelta(days=20)


async def test_its_row_names_the_owner_and_the_caller(scene) -> None:
    await take(scene, imported())
    row = await scene.last_row()
    assert (row.operation, row.app, row.external_id, row.status) == (Operation.IMPORT, "vault-admin", "imp-1", 201)
    assert (row.detail or "").startswith(
        "retention card v1, access policy owner-only, expires 2027-02-04T12:00:00.123456Z, "
    )
    assert row.new_value == (
        '{"created_at":"2027-01-05T12:00:00.123456Z","expires_at":"2027-02-04T12:00:00.123456Z",'
        '"owner_app":"legacy","owner_identity":"jo","updated_at":"2027-01-06T12:00:00.123456Z"}'
    )


async def test_the_replay_knows_the_owner_of_an_imported_entry(scene) -> None:
    await take(scene, *(imported(f"imp-{number}") for number in range(3)))
    assert await replayed(scene) == []


async def test_only_an_admin_imports(scene) -> None:
    with pytest.raises(RoleRequired):
        await scene.vault.importer.take(scene.owner, [imported()])


async def test_a_second_run_changes_nothing(scene) -> None:
    batch = [imported(f"imp-{number}") for number in range(3)]
    await take(scene, *batch)
    rows = len(await scene.access_rows())
    assert [each.result for each in await take(scene, *batch)] == [Result.UNCHANGED] * 3
    assert len(await scene.access_rows()) == rows


async def test_an_entry_without_an_expiry_is_unchanged_in_a_later_run(scene) -> None:
    await take(scene, imported(expires_at=None))
    await scene.go_to(T0 + timedelta(days=1))
    assert await result(scene, imported(expires_at=None)) is Result.UNCHANGED


async def test_without_an_expiry_the_default_counts_from_the_import(scene) -> None:
    await scene.retain("ach", default_ttl_days=7)
    await take(scene, imported(purpose="ach", expires_at=None))
    assert (await stored(scene, purpose="ach")).expires_at == T0 + timedelta(days=7)


async def test_the_same_id_twice_in_a_batch_is_taken_once(scene) -> None:
    other = imported(value=b"other")
    assert [each.result for each in await take(scene, imported(), imported(), other)] == [
        Result.CREATED,
        Result.UNCHANGED,
        Result.REJECTED,
    ]
    assert (await stored(scene)).value_size == len(b"imported")


async def test_new_entries_of_a_batch_are_stored_by_one_commit_and_none_is_read(scene) -> None:
    reads, writes = scene.vault.queue.reads.counts, scene.vault.queue.writes.counts
    before = reads.items, writes.items
    await take(scene, *(imported(f"new-{number}") for number in range(50)))
    assert (reads.items - before[0], writes.items - before[1]) == (1, 1)


async def test_each_entry_of_one_commit_has_its_row(scene) -> None:
    await take(scene, *(imported(f"new-{number}", owner_app=f"app-{number}") for number in range(50)))
    rows = await scene.storage.access_log(LogQuery(limit=100, equals={"operation": Operation.IMPORT.value}))
    assert len(rows) == 50
    for row in rows:
        entry = await stored(scene, row.record.external_id)
        assert row.record.stamp == entry.stamp
        assert f'"owner_app":"{entry.owner_app}"' in row.record.new_value
    assert await replayed(scene) == []


async def test_entries_beside_one_that_is_there_are_stored(scene) -> None:
    await take(scene, imported("there"))
    taken = await take(scene, imported("a"), imported("there"), imported("b"))
    assert [each.result for each in taken] == [Result.CREATED, Result.UNCHANGED, Result.CREATED]


async def test_an_entry_that_is_there_is_unchanged_also_if_it_would_be_rejected_today(scene) -> None:
    entry = imported("there", value=b"x" * 100)
    await take(scene, entry)
    await scene.retain("card", max_value_bytes=50)
    taken = await take(scene, imported("new", value=b"x"), entry, imported("large", value=b"x" * 100))
    assert [each.result for each in taken] == [Result.CREATED, Result.UNCHANGED, Result.REJECTED]


async def test_a_run_over_entries_that_are_there_commits_nothing_after_its_first_batch(scene) -> None:
    entries = [imported(f"new-{number}") for number in range(20)]
    await take(scene, *entries)
    await take(scene, *entries[:10])
    counts = scene.vault.queue.writes.counts
    before = counts.items
    assert [each.result for each in await take(scene, *entries[10:])] == [Result.UNCHANGED] * 10
    assert counts.items == before


async def test_a_dry_run_stores_nothing(scene) -> None:
    rows = len(await scene.access_rows())
    done = await scene.vault.importer.take(scene.admin, [imported()], dry_run=True)
    assert done[0].result is Result.CREATED
    assert await stored(scene) is None
    assert len(await scene.access_rows()) == rows


async def test_another_entry_under_the_id_is_rejected_by_default(scene) -> None:
    await scene.store("imp-1")
    done = await take(scene, imported())
    assert done[0].faults[0].expected == "an id that no other entry of this vault has"
    assert (await stored(scene)).owner_app == "payments"


async def test_another_entry_can_be_kept(scene) -> None:
    await scene.store("imp-1")
    assert await result(scene, imported(), existing=Existing.KEEP) is Result.KEPT
    assert (await stored(scene)).owner_app == "payments"


async def test_a_newer_one_replaces_with_a_purge_row(scene) -> None:
    await take(scene, imported())
    newer = imported(value=b"newer", updated_at=CREATED_AT + timedelta(days=2))
    assert await result(scene, newer, existing=Existing.NEWER) is Result.REPLACED
    purge = (await scene.purge_rows())[-1]
    assert (purge.external_id, purge.reason, purge.entry_version) == ("imp-1", PurgeReason.REPLACED, 1)
    assert (await stored(scene)).version == 2
    assert await replayed(scene) == []


async def test_a_newer_one_with_the_same_value_purges_nothing(scene) -> None:
    await take(scene, imported())
    newer = imported(metadata='{"a":1}', updated_at=CREATED_AT + timedelta(days=2))
    assert await result(scene, newer, existing=Existing.NEWER) is Result.REPLACED
    assert await scene.purge_rows() == []


async def test_an_older_one_does_not_replace(scene) -> None:
    await take(scene, imported())
    older = imported(value=b"older", updated_at=CREATED_AT)
    assert await result(scene, older, existing=Existing.NEWER) is Result.KEPT


async def test_a_newer_one_of_another_owner_is_rejected(scene) -> None:
    await take(scene, imported())
    stolen = imported(value=b"x", owner_app="thief", updated_at=T0)
    done = await take(scene, stolen, existing=Existing.NEWER)
    assert done[0].faults[0].field == "owner_app"
    assert (await stored(scene)).owner_app == "legacy"


async def test_a_held_entry_is_not_replaced(scene) -> None:
    await take(scene, imported())
    await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold("case-imp"))
    done = await take(scene, imported(value=b"x", updated_at=T0), existing=Existing.NEWER)
    assert "legal hold" in done[0].faults[0].expected
    assert (await stored(scene)).version == 1


async def test_the_metadata_of_a_held_entry_is_not_replaced(scene) -> None:
    await take(scene, imported())
    await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold("case-imp"))
    done = await take(scene, imported(metadata='{"a":1}', updated_at=T0), existing=Existing.NEWER)
    assert done[0].result is Result.REJECTED
    assert (await stored(scene)).metadata == "{}"


async def test_an_entry_that_this_vault_purged_does_not_come_back(scene) -> None:
    await take(scene, imported())
    await scene.vault.entries.purge(scene.admin, EntryKey("card", "imp-1"), NO_PRECONDITIONS)
    assert await result(scene, imported()) is Result.PURGED
    assert await stored(scene) is None


async def test_an_entry_that_its_source_purged_is_not_stored(scene) -> None:
    assert await result(scene, imported(is_purged=True)) is Result.PURGED
    assert await stored(scene) is None


async def test_a_retired_id_is_rejected(scene) -> None:
    await scene.retain("cold", purge_method="crypto-shred")
    await scene.store("imp-1", purpose="cold")
    await scene.vault.entries.purge(scene.owner, EntryKey("cold", "imp-1"), NO_PRECONDITIONS)
    scene.clock.advance(days=1)  # the time of the purge may be up to a second later than this clock's
    later = T0 + timedelta(hours=1)
    done = await take(scene, imported(purpose="cold", created_at=later, updated_at=later))
    assert "retired" in done[0].faults[0].expected


BAD_TIMES: list[tuple[dict[str, datetime], str]] = [
    ({"created_at": T0 + timedelta(seconds=1), "updated_at": T0 + timedelta(seconds=1)}, "created_at"),
    ({"updated_at": CREATED_AT - timedelta(seconds=1)}, "updated_at"),
    ({"updated_at": T0 + timedelta(seconds=1)}, "updated_at"),
    ({"expires_at": CREATED_AT}, "expires_at"),
    ({"expires_at": T0}, "expires_at"),
    ({"expires_at": CREATED_AT + timedelta(days=365, seconds=1)}, "expires_at"),
    ({"last_used_at": T0 + timedelta(seconds=1)}, "last_used_at"),
    ({"created_at": T0 - timedelta(days=366), "expires_at": None}, "created_at"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("fields", "named"), BAD_TIMES)
async def test_a_time_out_of_order_is_named(scene, fields, named) -> None:
    assert named in [name for name, _ in await faults(scene, imported(**fields))]


@pytest.mark.parametrize(("member", "purpose"), [("created_at", "card"), ("last_used_at", "idle")])
async def test_a_time_so_late_that_no_expiry_follows_it_is_named(scene, member, purpose) -> None:
    await scene.retain("idle", inactivity_days=30)
    latest = datetime(9999, 12, 31, tzinfo=UTC)
    taken = await take(scene, imported(purpose=purpose, expires_at=None, **{member: latest}), imported("imp-2"))
    assert member in [fault.field for fault in taken[0].faults]
    assert taken[1].result is Result.CREATED


async def test_expired_entries_are_taken_on_request_and_then_purged_with_proof(scene) -> None:
    await take(scene, imported(expires_at=T0 - timedelta(days=1)), takes_expired=True)
    assert (await scene.vault.purge.sweeper.sweep(scene.admin)).purged == 1
    assert [row.reason for row in await scene.purge_rows()] == [PurgeReason.EXPIRED]


async def test_an_expiry_beyond_the_maximum_is_shortened_on_request(scene) -> None:
    await take(scene, imported(expires_at=T0 + timedelta(days=3650)), shortens=True)
    assert (await stored(scene)).expires_at == CREATED_AT + timedelta(days=365)


async def test_a_purpose_without_a_policy_is_rejected_with_the_nearest(scene) -> None:
    assert await faults(scene, imported(purpose="crad")) == [
        ("purpose", "a purpose with a retention policy (did you mean card?)")
    ]


async def test_an_undefined_access_policy_is_a_warning(scene) -> None:
    done = await take(scene, imported(access_policy="owner-onyl"))
    assert done[0].warnings == (
        "access policy owner-onyl is not defined (did you mean owner-only?): owner-only rules apply until it is",
    )


async def test_an_undefined_access_policy_is_rejected_where_settings_require_one(open_scene) -> None:
    scene = await open_scene(access__require_defined_policy="true")
    assert [name for name, _ in await faults(scene, imported(access_policy="nowhere"))] == ["access_policy"]


async def test_the_limits_of_the_purpose_apply(scene) -> None:
    await scene.retain(
        "tight", max_value_bytes=3, required_metadata=("merchant",), allowed_access_policies=("same-purpose",)
    )
    found = await faults(scene, imported(purpose="tight"))
    assert [name for name, _ in found] == ["encrypted_value", "access_policy", "metadata.merchant"]


async def test_inactivity_counts_from_the_last_use(scene) -> None:
    await scene.retain("idle", default_ttl_days=None, inactivity_days=30)
    used_at = T0 - timedelta(days=2)
    await take(scene, imported(purpose="idle", expires_at=None, last_used_at=used_at))
    assert (await stored(scene, purpose="idle")).expires_at == used_at + timedelta(days=30)


@pytest.mark.parametrize("member", ["expires_at", "ttl"])
async def test_an_expiry_is_named_where_entries_expire_by_their_use(scene, member: str) -> None:
    await scene.retain("idle", default_ttl_days=None, inactivity_days=30)
    asked = {"expires_at": None, member: T0 + timedelta(days=9) if member == "expires_at" else timedelta(days=9)}
    found = await faults(scene, imported(purpose="idle", **asked))
    assert found == [(member, "no expiry: entries of this purpose expire 30 days after their last retrieval")]


async def test_the_row_that_counts_a_run_is_no_entry_for_the_replay(scene) -> None:
    count = ImportCount()
    count.add(Result.CREATED)
    await scene.vault.importer.finish(scene.admin, count, "ndjson")
    row = await scene.last_row()
    assert row.detail == "from ndjson: 1 created, 0 replaced, 0 unchanged, 0 kept, 0 purged, 0 rejected"
    assert await replayed(scene) == []
