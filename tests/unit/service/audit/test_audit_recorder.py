"""Every operation has its row, whatever happens to the request and its caller."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vsqlvault.errors import (
    AccessDenied,
    AuditUnavailable,
    Contended,
    EntryNotFound,
    PreconditionFailed,
    StorageUnavailable,
)
from vsqlvault.interfaces.storage import Snapshot
from vsqlvault.interfaces.writes import Conflict, RevisionIs
from vsqlvault.model.access import AuthorizationResult, Deny
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.service.entries.seen import SeenEntries
from vsqlvault.testing import T0, a_call

KEY = EntryKey("card", "pay-1")


async def test_a_row_says_who_what_when_from_where_and_how_it_ended(scene) -> None:
    stored = await scene.store()
    row = await scene.last_row()
    principal = scene.owner.principal
    assert (row.at, row.request_id, row.operation) == (scene.clock.at, scene.owner.request_id, Operation.STORE)
    assert (row.purpose, row.external_id, row.stamp) == ("card", "pay-1", stored.viewed.entry.stamp)
    assert (row.app, row.identity, row.method) == ("payments", "jane", "api-key")
    assert (row.credential_id, row.client_address) == (principal.credential_id, "192.0.2.7")
    assert (row.outcome, row.reason, row.status) == (Outcome.GRANTED, None, 201)
    assert (row.policy, row.policy_version) == ("owner-only", 1)


async def test_a_row_holds_no_value_and_no_metadata(scene) -> None:
    await scene.store(value=b"MARKER-V", metadata='{"m":"MARKER-M"}')
    await scene.vault.entries.retrieve(scene.owner, KEY)
    await scene.purge()
    assert "MARKER" not in repr(await scene.access_rows())
    assert "MARKER" not in repr(await scene.purge_rows())


@pytest.mark.parametrize("error", [EntryNotFound(), PreconditionFailed("x"), AccessDenied()], ids=lambda e: e.slug)
async def test_an_error_gets_its_row_before_the_caller_sees_it(scene, error) -> None:
    async def attempt() -> None:
        raise error

    trace = AuditContext(scene.owner, Operation.RETRIEVE, KEY)
    with pytest.raises(type(error)):
        await scene.vault.audit.recorder.run_audited(trace, attempt)
    row = await scene.last_row()
    assert (row.outcome, row.status, row.reason, row.request_id) == (
        Outcome.DENIED,
        error.status,
        error.reason,
        scene.owner.request_id,
    )


async def test_an_error_that_is_met_twice_has_two_rows(scene) -> None:
    """A plugin may raise one and the same object for one request after another."""
    error = PreconditionFailed("the same object")

    async def attempt() -> None:
        raise error

    for _ in range(2):
        with pytest.raises(PreconditionFailed):
            await scene.vault.audit.recorder.run_audited(AuditContext(a_call(), Operation.RETRIEVE, KEY), attempt)
    assert len(await scene.access_rows(operation="retrieve")) == 2


async def test_a_refusal_that_cannot_be_recorded_is_not_answered(scene) -> None:
    scene.storage.arm(methods={"commit"}, always=True)
    with pytest.raises(AuditUnavailable):
        await scene.vault.entries.retrieve(scene.owner, KEY)


async def test_after_the_last_retry_the_conflict_is_answered_with_one_row(scene, monkeypatch) -> None:
    monkeypatch.setattr(SeenEntries, "entry", lambda *_: None)
    commit = scene.storage.inner.commit

    async def never(writes: Any) -> Any:
        return [Conflict(write.expects[0]) if write.expects else (await commit([write]))[0] for write in writes]

    await scene.store()
    scene.storage.inner.commit = never
    with pytest.raises(Contended):
        await scene.vault.entries.retrieve(scene.owner, KEY)
    (row,) = await scene.access_rows(operation="retrieve")
    assert (row.outcome, row.reason, row.status) == (Outcome.DENIED, "contended", 503)


async def test_a_conflict_leaves_no_row_of_its_own(scene) -> None:
    await scene.store()
    commit = scene.storage.inner.commit
    tries = 0

    async def twice(writes: Any) -> Any:
        nonlocal tries
        tries += 1
        return [Conflict(RevisionIs(0)) for _ in writes] if tries <= 2 else await commit(writes)

    scene.storage.inner.commit = twice
    await scene.vault.entries.retrieve(scene.owner, KEY)
    assert len(await scene.access_rows(operation="retrieve")) == 1


def test_a_row_without_a_time_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="time"):
        AuditContext(a_call(), Operation.STORE, KEY).granted()


class TestShielded:
    async def test_a_caller_that_goes_away_does_not_stop_the_work(self, scene) -> None:
        await scene.store(value=b"old")
        held = hold(scene, "commit_seen")
        caller = asyncio.create_task(
            scene.vault.audit.recorder.shielded(scene.vault.entries.purge(scene.owner, KEY, Preconditions()))
        )
        await held.reached.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        held.go.set()
        await scene.vault.audit.recorder.drain()
        assert len(await scene.purge_rows()) == 1
        assert len(await scene.access_rows(operation="purge")) == 1

    @pytest.mark.parametrize("method", ["read", "commit", "commit_seen"])
    async def test_wherever_it_goes_away_the_work_is_done_whole(self, scene, method, monkeypatch) -> None:
        await scene.store(value=b"old")
        if method != "commit_seen":
            monkeypatch.setattr(SeenEntries, "entry", lambda *_: None)
        held = hold(scene, method)
        caller = asyncio.create_task(scene.vault.audit.recorder.shielded(scene.store(value=b"new")))
        await held.reached.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        held.go.set()
        await scene.vault.audit.recorder.drain()
        assert (await scene.vault.entries.retrieve(scene.owner, KEY)).value == b"new"
        assert len(await scene.purge_rows()) == 1
        assert len(await scene.access_rows(operation="store")) == 2

    async def test_a_result_and_an_error_come_through(self, scene) -> None:
        assert (await scene.vault.audit.recorder.shielded(scene.store())).created
        with pytest.raises(EntryNotFound):
            await scene.vault.audit.recorder.shielded(
                scene.vault.entries.retrieve(scene.owner, EntryKey("card", "none"))
            )

    async def test_work_that_fails_after_its_caller_went_away_troubles_nobody(self, scene) -> None:
        held = hold(scene, "commit")
        caller = asyncio.create_task(scene.vault.audit.recorder.shielded(scene.store()))
        await held.reached.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        held.error = StorageUnavailable()
        held.go.set()
        await scene.vault.audit.recorder.drain()
        assert await scene.access_rows(operation="store") == []

    async def test_draining_waits_for_the_work(self, scene) -> None:
        held = hold(scene, "commit")
        caller = asyncio.create_task(scene.vault.audit.recorder.shielded(scene.store()))
        await held.reached.wait()
        draining = asyncio.create_task(scene.vault.audit.recorder.drain())
        await asyncio.sleep(0.05)
        assert not draining.done()
        held.go.set()
        await asyncio.gather(draining, caller)

    async def test_draining_within_a_time_cancels_what_does_not_end(self, scene) -> None:
        caller = asyncio.create_task(scene.vault.audit.recorder.shielded(asyncio.sleep(3600)))
        await asyncio.sleep(0)
        await asyncio.wait_for(scene.vault.audit.recorder.drain(0.01), 5)
        with pytest.raises(asyncio.CancelledError):
            await caller

    async def test_others_are_not_lost_when_one_goes_away(self, scene) -> None:
        held = hold(scene, "commit")
        callers = [asyncio.create_task(scene.store(f"e{n}")) for n in range(20)]
        await held.reached.wait()
        for caller in callers[::3]:
            caller.cancel()
        held.go.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in results) == 13


class Held:
    """A call of the storage that waits to be let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.error: BaseException | None = None


def hold(scene: Any, method: str) -> Held:
    """Hold up the next call of this method."""
    held = Held()
    plain = getattr(scene.storage.inner, method)

    async def wait(*arguments: Any) -> Any:
        setattr(scene.storage.inner, method, plain)
        held.reached.set()
        await held.go.wait()
        if held.error:
            raise held.error
        return await plain(*arguments)

    setattr(scene.storage.inner, method, wait)
    return held


def test_what_an_earlier_attempt_decided_is_not_what_a_later_one_did() -> None:
    trace = AuditContext(a_call(), Operation.RETRIEVE, EntryKey("card", "pay-1"))
    trace.observe(Snapshot(T0, 1, None, None))
    trace.decided = AuthorizationResult(Deny("app-not-allowed"), "old", 1)
    trace.observe(Snapshot(T0, 2, None, None))
    row = trace.granted()
    assert (row.policy, row.policy_version) == (None, None)
