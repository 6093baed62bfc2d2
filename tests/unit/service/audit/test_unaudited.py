"""Requests that were refused without a row are counted, and recorded once rows can be committed again."""

from __future__ import annotations

import asyncio

from vsqlvault.errors import AccessDenied, AuditUnavailable, OutcomeUnknown, StorageUnavailable
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.times import format_time
from vsqlvault.runtime import Tuning, lifecycle
from vsqlvault.service.tasks import running


async def gap_rows(scene) -> list[AccessRecord]:
    return await scene.access_rows(operation=Operation.AUDIT_GAP)


async def test_one_row_tells_how_many_and_when(scene) -> None:
    first = scene.vault.clock.now()
    for _ in range(3):
        scene.vault.audit.unaudited.count(StorageUnavailable())
    scene.vault.audit.unaudited.count(AuditUnavailable())
    await scene.vault.audit.unaudited.flush()
    (row,) = await gap_rows(scene)
    assert (row.count, row.status, row.reason, row.app) == (4, 503, "audit_gap", None)
    assert row.detail is not None
    assert row.detail.startswith(f"from {format_time(first)[:-6]}")
    assert "may have a row" not in row.detail


async def test_requests_of_unknown_outcome_are_counted_separately(scene) -> None:
    scene.vault.audit.unaudited.count(StorageUnavailable())
    scene.vault.audit.unaudited.count(OutcomeUnknown())
    await scene.vault.audit.unaudited.flush()
    (row,) = await gap_rows(scene)
    assert row.count == 2
    assert row.detail is not None
    assert row.detail.endswith("; 1 of them may have a row")


async def test_what_has_its_row_is_no_gap(scene) -> None:
    scene.vault.audit.unaudited.count(AccessDenied())
    await scene.vault.audit.unaudited.flush()
    assert await gap_rows(scene) == []


async def test_it_waits_for_the_storage_and_counts_on_meanwhile(scene) -> None:
    scene.storage.arm(always=True)
    for _ in range(5):
        scene.vault.audit.unaudited.count(StorageUnavailable())
        await scene.vault.audit.unaudited.flush()
    scene.storage.disarm()
    await scene.vault.audit.unaudited.flush()
    (row,) = await gap_rows(scene)
    assert row.count == 5


async def test_the_next_gap_is_another_row(scene) -> None:
    for _ in range(2):
        scene.vault.audit.unaudited.count(StorageUnavailable())
        await scene.vault.audit.unaudited.flush()
    assert [row.count for row in await gap_rows(scene)] == [1, 1]


async def test_the_task_commits_the_row(open_scene) -> None:
    scene = await open_scene(tuning=Tuning(unaudited_flush_seconds=0.01))
    scene.vault.audit.unaudited.count(StorageUnavailable())
    async with running(scene.vault.audit.unaudited.task), asyncio.timeout(5):
        while not await gap_rows(scene):  # noqa: ASYNC110 - there is nothing to be woken by
            await asyncio.sleep(0.01)


async def test_a_vault_that_closes_commits_the_row(scene) -> None:
    scene.vault.audit.unaudited.count(StorageUnavailable())
    await lifecycle.settle(scene.vault)
    assert [row.count for row in await gap_rows(scene)] == [1]
