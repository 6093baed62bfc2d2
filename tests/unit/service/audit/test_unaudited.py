"""Requests that were refused without a row are counted, and on record as soon as rows are taken again."""

from __future__ import annotations

import asyncio

import pytest

from vsqlvault.errors import AccessDenied, AuditUnavailable, OutcomeUnknown, StorageUnavailable
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.times import format_time
from vsqlvault.service.audit import unaudited as gaps


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "RETRY_SECONDS", 0.02)


async def gap_rows(scene) -> list[AccessRecord]:
    return await scene.access_rows(operation=Operation.AUDIT_GAP)


async def test_one_row_tells_how_many_and_when(scene) -> None:
    first = scene.vault.clock.now()
    for _ in range(3):
        scene.vault.audit.unaudited.count(StorageUnavailable())
    scene.vault.audit.unaudited.count(AuditUnavailable())
    await asyncio.sleep(0.1)
    (row,) = await gap_rows(scene)
    assert (row.count, row.status, row.reason, row.app) == (4, 503, "audit_gap", None)
    assert row.detail is not None
    assert row.detail.startswith(f"from {format_time(first)[:-6]}")
    assert "may have a row" not in row.detail


async def test_those_whose_outcome_nobody_knows_are_told_apart(scene) -> None:
    scene.vault.audit.unaudited.count(StorageUnavailable())
    scene.vault.audit.unaudited.count(OutcomeUnknown())
    await asyncio.sleep(0.1)
    (row,) = await gap_rows(scene)
    assert row.count == 2
    assert row.detail is not None
    assert row.detail.endswith("; 1 of them may have a row all the same")


async def test_what_has_its_row_is_no_gap(scene) -> None:
    scene.vault.audit.unaudited.count(AccessDenied())
    await asyncio.sleep(0.1)
    assert await gap_rows(scene) == []


async def test_it_waits_for_the_storage_and_counts_on_meanwhile(scene) -> None:
    scene.storage.arm(always=True)
    for _ in range(5):
        scene.vault.audit.unaudited.count(StorageUnavailable())
        await asyncio.sleep(0.03)
    scene.storage.disarm()
    await asyncio.sleep(0.1)
    (row,) = await gap_rows(scene)
    assert row.count == 5


async def test_the_next_gap_is_another_row(scene) -> None:
    for _ in range(2):
        scene.vault.audit.unaudited.count(StorageUnavailable())
        await asyncio.sleep(0.1)
    assert [row.count for row in await gap_rows(scene)] == [1, 1]


async def test_an_end_does_not_forget_it(scene) -> None:
    scene.vault.audit.unaudited.count(StorageUnavailable())
    await scene.vault.audit.unaudited.close()
    assert [row.count for row in await gap_rows(scene)] == [1]
