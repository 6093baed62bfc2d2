"""Refused credentials: few rows for many tries, and never a try lost from the count."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vsqlvault.errors import AmbiguousCredentials, AuditUnavailable, CredentialRefused
from vsqlvault.interfaces.writes import Committed
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.service.audit.auth_failures import AuthFailureLog
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.tasks import running


class FakeStorage:
    """Keeps rows; can be held up, and can fail."""

    flights = 1

    def __init__(self) -> None:
        self.rows: list[AccessRecord] = []
        self.failing = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, writes: Any) -> list[Any]:
        await self.gate.wait()
        if self.failing:
            raise AuditUnavailable
        self.rows += [record for write in writes for record in write.access]
        return [Committed()] * len(writes)

    @property
    def counted(self) -> int:
        return sum(row.count for row in self.rows)


@pytest.fixture
def storage() -> FakeStorage:
    return FakeStorage()


def failure_log(storage: FakeStorage, **options: Any) -> AuthFailureLog:
    clock = StorageClock()
    return AuthFailureLog(CommitQueue(storage, clock, max_batch=256, max_waiting=10_000), clock, **options)


@pytest.fixture
def refusals(storage) -> AuthFailureLog:
    return failure_log(storage)


async def refuse(
    refusals: AuthFailureLog, why: str = "bad_key", address: str | None = "192.0.2.7", key: str | None = None
) -> None:
    await refusals.record(CredentialRefused(why, credential_id=key), "request", address)


async def test_the_first_refusal_of_a_source_is_committed_at_once(refusals, storage) -> None:
    await refusals.record(CredentialRefused("bad_key", credential_id="c1"), "r1", "192.0.2.7")
    (row,) = storage.rows
    assert (row.operation, row.outcome, row.status, row.count) == (Operation.AUTHENTICATE, Outcome.DENIED, 401, 1)
    assert (row.reason, row.credential_id, row.client_address, row.request_id) == ("bad_key", "c1", "192.0.2.7", "r1")
    assert row.app is None


async def test_the_others_of_the_same_moment_are_one_row_with_a_count(refusals, storage) -> None:
    for _ in range(100):
        await refuse(refusals)
    assert len(storage.rows) == 1
    await refusals.flush()
    assert [row.count for row in storage.rows] == [1, 99]


@pytest.mark.parametrize("others", [{"why": "expired"}, {"address": "192.0.2.8"}, {"key": "c2"}, {"address": None}])
async def test_another_source_has_a_row_of_its_own(refusals, storage, others) -> None:
    await refuse(refusals)
    await refuse(refusals, **others)
    assert len(storage.rows) == 2


async def test_a_refusal_of_another_kind_tells_its_own_reason(refusals, storage) -> None:
    await refusals.record(AmbiguousCredentials(), "r", None)
    assert storage.rows[0].reason == "ambiguous"


async def test_after_a_quiet_while_the_next_is_the_first_again(refusals, storage) -> None:
    await refuse(refusals)
    await refusals.flush()
    await refuse(refusals)
    assert [row.count for row in storage.rows] == [1, 1]


async def test_a_flush_commits_what_is_counted(refusals, storage) -> None:
    for _ in range(10):
        await refuse(refusals)
    await refusals.flush()
    assert storage.counted == 10


async def test_the_task_commits_the_count(storage) -> None:
    refusals = failure_log(storage, interval_seconds=0.01)
    for _ in range(10):
        await refuse(refusals)
    async with running(refusals.task), asyncio.timeout(10):
        while storage.counted < 10:  # noqa: ASYNC110 - there is nothing to be woken by
            await asyncio.sleep(0.01)


async def test_a_flood_of_sources_is_bounded_and_loses_nothing(storage) -> None:
    refusals = failure_log(storage, max_sources=10)
    for n in range(500):
        await refuse(refusals, address=f"192.0.2.{n}", why="bad_key" if n % 2 else "expired")
    await refusals.flush()
    assert storage.counted == 500
    assert len(storage.rows) < 20


async def test_a_first_row_that_cannot_be_committed_is_an_error(refusals, storage) -> None:
    storage.failing = True
    with pytest.raises(AuditUnavailable):
        await refuse(refusals)
    storage.failing = False
    await refuse(refusals)
    assert storage.counted == 1


async def test_counts_are_kept_while_the_storage_fails(refusals, storage) -> None:
    await refuse(refusals)
    for _ in range(5):
        await refuse(refusals)
    storage.failing = True
    for _ in range(3):
        await refusals.flush()
        await refuse(refusals)
    storage.failing = False
    await refusals.flush()
    assert storage.counted == 9


async def test_what_comes_while_a_count_is_being_committed_is_counted_too(refusals, storage) -> None:
    for _ in range(5):
        await refuse(refusals)
    storage.gate.clear()
    flushing = asyncio.create_task(refusals.flush())
    await asyncio.sleep(0)
    for _ in range(5):
        await refuse(refusals)
    storage.gate.set()
    await flushing
    await refusals.flush()
    assert storage.counted == 10


async def test_those_that_were_answered_while_the_first_row_failed_are_counted(refusals, storage) -> None:
    """Every 401 has a row or is counted in one; only the first was answered that there is none."""
    storage.gate.clear()
    first = asyncio.create_task(refuse(refusals))
    await asyncio.sleep(0)
    for _ in range(10):
        await refuse(refusals)
    storage.failing = True
    storage.gate.set()
    with pytest.raises(AuditUnavailable):
        await first
    storage.failing = False
    await refusals.flush()
    assert storage.counted == 10


async def test_a_first_row_that_fails_after_the_next_flush_raises_its_error(refusals, storage) -> None:
    """A locked storage keeps a row waiting for longer than a source is remembered."""
    storage.gate.clear()
    first = asyncio.create_task(refuse(refusals))
    await asyncio.sleep(0)
    await refusals.flush()
    storage.failing = True
    storage.gate.set()
    with pytest.raises(AuditUnavailable):
        await first
    storage.failing = False


async def test_a_first_row_that_fails_late_takes_nothing_from_those_that_came_after(refusals, storage) -> None:
    storage.gate.clear()
    first = asyncio.create_task(refuse(refusals))
    await asyncio.sleep(0)
    await refusals.flush()
    second = asyncio.create_task(refuse(refusals))
    await asyncio.sleep(0)
    answered = [asyncio.create_task(refuse(refusals)) for _ in range(5)]
    await asyncio.gather(*answered)
    storage.failing = True
    storage.gate.set()
    results = await asyncio.gather(first, second, return_exceptions=True)
    storage.failing = False
    await refusals.flush()
    assert [type(result) for result in results] == [AuditUnavailable] * 2
    assert storage.counted == 5


async def test_a_flush_during_a_flush_that_fails_loses_nothing(refusals, storage) -> None:
    for _ in range(10):
        await refuse(refusals)
    storage.gate.clear()
    flushing = asyncio.create_task(refusals.flush())
    await asyncio.sleep(0)
    storage.failing = True
    last = asyncio.create_task(refusals.flush())
    await asyncio.sleep(0)
    storage.gate.set()
    await flushing
    storage.failing = False
    await last
    assert storage.counted == 10


async def test_a_flush_during_a_flush_that_succeeds_counts_nothing_twice(refusals, storage) -> None:
    for _ in range(10):
        await refuse(refusals)
    storage.gate.clear()
    flushing = asyncio.create_task(refusals.flush())
    await asyncio.sleep(0)
    last = asyncio.create_task(refusals.flush())
    await asyncio.sleep(0)
    storage.gate.set()
    await asyncio.gather(flushing, last)
    assert storage.counted == 10


async def test_in_the_vault_a_flush_leaves_no_count_behind(open_scene) -> None:
    scene = await open_scene()
    for _ in range(7):
        await refuse(scene.vault.audit.auth_failures)
    await scene.vault.audit.auth_failures.flush()
    assert sum(row.count for row in await scene.access_rows(operation="authenticate")) == 7
