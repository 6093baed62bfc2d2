"""A read of an entry has the caller's app, so that it has its place in the fair queue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from vsqlvault.interfaces.storage import PolicySnapshot, Snapshot
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import EntryKey
from vsqlvault.service.access.loading import EntryLoader
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.testing import T0, a_call

KEY = EntryKey("card", "loaded-1")


async def test_a_load_reads_in_the_name_of_the_callers_app() -> None:
    asked: list[tuple[Any, ...]] = []

    async def read(key: EntryKey, *, with_value: bool, app: str) -> Snapshot:
        asked.append((key, with_value, app))
        return Snapshot(T0, 1, None, None)

    cache: Any = SimpleNamespace(known=PolicySnapshot(1, {}, {}))
    queue: Any = SimpleNamespace(read=read)
    await EntryLoader(queue, cache).load(AuditContext(a_call("billing"), Operation.RETRIEVE, KEY), KEY, with_value=True)
    assert asked == [(KEY, True, "billing")]
