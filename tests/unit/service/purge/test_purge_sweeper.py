"""Sweeps: what has expired goes, each with its proof, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.service.purge.sweeping import ALONE, DAY, fill, sweep, there
from vsqlvault.interfaces.storage import Read
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.purge import PurgeReason
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.service.purge import throttle as sweep_pace
from vsqlvault.testing import storing


async def test_what_has_expired_is_purged_and_what_lives_is_kept(scene) -> None:
    ending = await fill(scene, 3, live=2)
    count = await sweep(scene)
    assert (count.purged, count.failed, count.by_purpose) == (3, 0, {"card": 3})
    assert await there(scene, *ending, "live-0", "live-1") == ["live-0", "live-1"]


async def test_each_entry_has_a_purge_row_whose_proof_can_be_recomputed(scene) -> None:
    for n in range(9):
        await scene.store(f"e{n}", value=b"v%d" % n, expires_at=scene.clock.at + DAY)
    kept = [s.entry for s in await scene.storage.inner.read([Read(EntryKey("card", f"e{n}")) for n in range(9)])]
    scene.clock.advance(days=1)
    await sweep(scene)
    rows = {record.external_id: record for record in await scene.purge_rows()}
    assert {name: row.proof_hash for name, row in rows.items()} == {
        entry.external_id: purge_proof(entry, b"v%d" % n) for n, entry in enumerate(kept)
    }
    assert {(row.reason, row.policy_reference, row.app, row.expired_at) for row in rows.values()} == {
        (PurgeReason.EXPIRED, "card v1", "vault-admin", scene.clock.at)
    }


async def test_each_purged_entry_has_an_access_row_and_the_sweep_has_its_own(scene) -> None:
    await fill(scene, 5)
    count = await sweep(scene)
    purges = await scene.access_rows(operation="purge")
    assert {row.detail for row in purges} == {f"sweep {count.sweep_id}"}
    assert {row.request_id for row in purges} == {scene.admin.request_id}
    assert len(purges) == 5
    (row,) = await scene.access_rows(operation="sweep")
    assert row.detail == f"sweep {count.sweep_id}: 5 purged, 0 failed"


async def test_the_summary_is_on_record(scene) -> None:
    await fill(scene, 5)
    count = await sweep(scene, trigger="request")
    last = await scene.storage.inner.last_sweep()
    assert (last.sweep_id, last.purged, last.failed, last.trigger) == (count.sweep_id, 5, 0, "request")


async def test_a_sweep_that_finds_nothing_is_on_record_too(scene) -> None:
    assert (await sweep(scene)).purged == 0
    assert (await scene.storage.inner.last_sweep()).purged == 0


async def test_what_the_retention_limit_ends_is_purged(scene) -> None:
    await scene.store("old")
    scene.clock.advance(days=10)
    await scene.store("new")
    await scene.retain(max_retention_days=10, default_ttl_days=5)
    assert (await sweep(scene)).purged == 1
    assert await there(scene, "old", "new") == ["new"]


async def test_every_purpose_is_swept_by_its_own_policy(scene) -> None:
    await scene.retain("ach", purge_method="crypto-shred", max_retention_days=1, default_ttl_days=1)
    await scene.store("a")
    await scene.store("b", purpose="ach")
    scene.clock.advance(days=1)
    assert (await sweep(scene)).by_purpose == {"ach": 1}
    assert [record.method for record in await scene.purge_rows()] == ["crypto-shred"]


async def test_a_shredded_entry_is_not_swept_again(scene) -> None:
    await scene.retain(purge_method="crypto-shred")
    await fill(scene, 3)
    assert [(await sweep(scene)).purged for _ in range(2)] == [3, 0]
    assert len(await scene.purge_rows()) == 3


async def test_a_dry_run_counts_and_writes_nothing_to_the_purge_log(scene) -> None:
    ending = await fill(scene, 4, live=2)
    count = await sweep(scene, dry_run=True)
    assert (count.dry_run, count.purged, count.by_purpose) == (True, 4, {"card": 4})
    assert await scene.purge_rows() == []
    assert await scene.access_rows(operation="purge") == []
    assert await there(scene, *ending) == ending
    assert await scene.storage.inner.last_sweep() is None
    (row,) = await scene.access_rows(operation="sweep")
    assert row.detail == "dry run: 4 expired"


async def test_a_dry_run_counts_what_the_sweep_then_purges(scene) -> None:
    await scene.retain("ach", max_retention_days=1, default_ttl_days=1)
    await fill(scene, 4)
    await scene.store("x", purpose="ach")
    scene.clock.advance(days=1)
    assert (await sweep(scene, dry_run=True)).by_purpose == (await sweep(scene)).by_purpose == {"ach": 1, "card": 4}


async def test_two_thousand_entries_go_in_batches(open_scene) -> None:
    scene = await open_scene(tuning=ALONE, purge__sweep_batch="250", purge__sweep_pause_seconds="0")
    ending = await fill(scene, 2000, live=1)
    pages = []
    count = await sweep(scene, progress=lambda so_far: pages.append(so_far.purged))
    assert count.purged == 2000
    assert pages == list(range(250, 2001, 250))
    assert await there(scene, *ending, "live-0") == ["live-0"]
    rows = await scene.purge_rows()
    assert len({(row.entry_id, row.entry_version) for row in rows}) == len(rows) == 2000


async def test_what_it_purges_of_one_purpose_is_nobody_beside_the_next(scene) -> None:
    at = scene.clock.at
    await scene.retain("account")
    await scene.storage.inner.commit(
        [
            storing(f"e{n}", purpose=purpose, created_at=at, expires_at=at + DAY)
            for purpose in ("account", "card")
            for n in range(sweep_pace.PAGE * 2)
        ]
    )
    scene.clock.advance(days=1)
    counts = scene.vault.queue.writes.counts
    before, counts.last_at = counts.batches, None
    assert (await sweep(scene)).purged == sweep_pace.PAGE * 4
    assert counts.batches - before == 4  # one for each purpose, the summary, and what the scrub leaves


async def test_its_own_row_of_the_clock_is_nobody_beside_it(scene) -> None:
    await sweep(scene)
    await fill(scene, sweep_pace.PAGE * 2)
    scene.clock.advance(days=3)
    counts = scene.vault.queue.writes.counts
    before, counts.last_at = counts.batches, None
    assert (await sweep(scene, confirm_clock=True)).purged == sweep_pace.PAGE * 2
    assert counts.batches - before == 5  # the clock's two rows, the purges, the summary, and what the scrub leaves


async def test_a_large_page_is_left_where_it_is_once_others_are_served(scene, monkeypatch) -> None:
    await fill(scene, sweep_pace.PAGE * 3)
    counts = scene.vault.queue.writes.counts
    counts.last_at = None
    read = scene.storage.inner.expired

    async def read_while_others_are_served(query: Any) -> Any:
        found = await read(query)
        counts.items += 1
        return found

    monkeypatch.setattr(scene.storage.inner, "expired", read_while_others_are_served)
    pages = []
    await sweep(scene, progress=lambda so_far: pages.append(so_far.purged))
    assert pages == [sweep_pace.PAGE, sweep_pace.PAGE * 2, sweep_pace.PAGE * 3]


@pytest.mark.parametrize("replaced", ["e0", "e1", "e8"])
async def test_each_entry_of_a_joined_commit_is_the_one_that_had_expired(scene, replaced) -> None:
    ending = await fill(scene, 9)
    storage = scene.storage.inner
    commit = storage.commit

    async def replaced_then_committed(writes: Any) -> Any:
        if any(len(write.purges) > 1 for write in writes):
            storage.commit = commit
            at = scene.clock.at
            await commit([storing(replaced, b"new", version=2, created_at=at, expires_at=at + DAY)])
        return await commit(writes)

    storage.commit = replaced_then_committed
    assert (await sweep(scene)).purged == 8
    assert await there(scene, *ending) == [replaced]


async def test_a_living_entry_that_the_storage_calls_expired_is_kept(scene) -> None:
    await fill(scene, 2, live=1)
    (snapshot,) = await scene.storage.inner.read([Read(EntryKey("card", "live-0"), with_value=True)])
    expired = scene.storage.inner.expired

    async def expired_and_more(query: Any) -> Any:
        page = await expired(query)
        return [*page, (snapshot.entry, snapshot.value)] if page else page

    scene.storage.inner.expired = expired_and_more
    count = await sweep(scene)
    assert await there(scene, "e0", "e1", "live-0") == ["live-0"]
    assert (count.purged, count.failed) == (2, 1)
