"""Reading the logs: for admins and auditors, with a row, page by page or as a stream."""

from __future__ import annotations

import pytest

from vsqlvault.errors import AuditUnavailable, RoleRequired
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.principal import Role
from vsqlvault.runtime import Tuning
from vsqlvault.testing import a_call, a_purge_record, a_write, an_access_record

LOGS = {"access_log": Operation.READ_ACCESS_LOG, "purge_log": Operation.READ_PURGE_LOG}


async def fill(scene, count: int) -> list[str]:
    ids = [f"r{n}" for n in range(count)]
    at = scene.clock.at
    await scene.storage.inner.commit([Write((an_access_record(request_id=name, at=at, app="filler"),)) for name in ids])
    await scene.storage.inner.commit(
        [Write((), purges=(a_purge_record(request_id=name, purged_at=at, app="filler"),)) for name in ids]
    )
    scene.clock.advance(seconds=1)
    return ids


@pytest.mark.parametrize("log", LOGS)
async def test_reading_a_log_is_an_operation_with_its_row(scene, log) -> None:
    await getattr(scene.vault.audit.log_reader, log)(
        scene.admin, LogQuery(limit=5, equals={"app": "x"}, since=scene.clock.at)
    )
    row = await scene.last_row()
    assert (row.operation, row.app, row.detail) == (LOGS[log], "vault-admin", "filters: app, since")


@pytest.mark.parametrize("method", ["access_log", "purge_log"])
async def test_nobody_but_admins_and_auditors_reads_a_log(scene, method) -> None:
    await getattr(scene.vault.audit.log_reader, method)(a_call("auditors", Role.AUDITOR), LogQuery(limit=5))
    with pytest.raises(RoleRequired):
        await getattr(scene.vault.audit.log_reader, method)(scene.owner, LogQuery(limit=5))
    with pytest.raises(RoleRequired):
        await getattr(scene.vault.audit.log_reader, f"stream_{method}")(scene.owner, LogQuery(limit=5), None)
    rows = await scene.access_rows(operation=LOGS[method].value, outcome="denied")
    assert [row.reason for row in rows] == ["role", "role"]


@pytest.mark.parametrize("limit", [None, 1, 9, 10, 11, 25, 1000])
@pytest.mark.parametrize("log", LOGS)
async def test_a_stream_is_complete_up_to_its_limit_without_repeating(open_scene, log, limit) -> None:
    scene = await open_scene(tuning=Tuning(log_stream_page=10))
    ids = await fill(scene, 25)
    query = LogQuery(limit=5, oldest_first=True, equals={"app": "filler"})
    stream = await getattr(scene.vault.audit.log_reader, f"stream_{log}")(scene.admin, query, limit)
    assert [row.record.request_id async for row in stream] == ids[:limit]


async def test_the_row_is_committed_before_the_first_record_leaves(scene) -> None:
    await fill(scene, 3)
    stream = await scene.vault.audit.log_reader.stream_access_log(scene.admin, LogQuery(limit=5), None)
    assert (await scene.last_row()).operation is Operation.READ_ACCESS_LOG
    assert [record async for record in stream]


async def test_without_its_row_nothing_is_streamed(scene) -> None:
    await fill(scene, 3)
    scene.storage.arm(methods={"commit"}, always=True)
    with pytest.raises(AuditUnavailable):
        await scene.vault.audit.log_reader.stream_access_log(scene.admin, LogQuery(limit=5), None)


async def test_while_time_stands_still_what_is_on_record_is_streamed(scene) -> None:
    await scene.vault.purge.clock_guard.look()
    scene.clock.advance(hours=-1)
    await scene.store()
    stream = await scene.vault.audit.log_reader.stream_access_log(scene.admin, LogQuery(limit=5), None)
    assert Operation.STORE in {row.record.operation async for row in stream}


async def test_rows_that_come_while_it_streams_are_left_out(open_scene) -> None:
    scene = await open_scene(tuning=Tuning(log_stream_page=2))
    await fill(scene, 6)
    stream = await scene.vault.audit.log_reader.stream_access_log(
        scene.admin, LogQuery(limit=5, oldest_first=True, equals={"app": "filler"}), None
    )
    seen = 0
    async for _ in stream:
        seen += 1
        scene.clock.advance(seconds=1)
        await scene.storage.inner.commit([Write((an_access_record(at=scene.clock.at, app="filler"),)), a_write()])
    assert seen == 6
