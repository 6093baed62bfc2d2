"""A flood of one app: the requests of another overtake it, by the order in which they end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vsqlvault.errors import AccessDenied
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import EntryKey
from vsqlvault.service.commit.fair_queue import MAX_RUNNING
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.testing import a_call

FLOOD = 200
KEY = EntryKey("card", "pay-1")


async def retrieve(scene: Any, call: Any, number: int) -> None:
    await scene.vault.entries.retrieve(call, EntryKey("card", f"of-{call.principal.app}"))


async def inspect(scene: Any, call: Any, number: int) -> None:
    await scene.vault.entries.inspect(call, EntryKey("card", f"of-{call.principal.app}"))


async def store(scene: Any, call: Any, number: int) -> None:
    await scene.store(f"new-{call.principal.app}-{number}", call=call)


async def purge(scene: Any, call: Any, number: int) -> None:
    await scene.store(f"old-{call.principal.app}-{number}", call=call)
    await scene.vault.entries.purge(call, EntryKey("card", f"old-{call.principal.app}-{number}"), Preconditions())


async def ask_without_the_purpose(scene: Any, call: Any, number: int) -> None:
    stranger = a_call(call.principal.app, purposes=frozenset())
    with pytest.raises(AccessDenied):
        await scene.vault.entries.require_purpose(stranger, Operation.RETRIEVE, KEY)


@pytest.mark.parametrize("request_one", [retrieve, inspect, store, purge, ask_without_the_purpose])
async def test_a_request_of_another_app_overtakes_a_flood(scene, request_one) -> None:
    for call in (scene.owner, scene.other):
        await scene.store(f"of-{call.principal.app}", call=call)
    ended: list[str] = []

    async def run(call: Any, number: int) -> None:
        await request_one(scene, call, number)
        ended.append(call.principal.app)

    await asyncio.gather(*(run(scene.owner, number) for number in range(FLOOD)), run(scene.other, 0))
    assert ended.index(scene.other.principal.app) <= 2 * MAX_RUNNING
    assert len(ended) == FLOOD + 1


async def test_the_commit_queue_goes_by_the_fair_queue_of_the_vault(scene) -> None:
    assert scene.vault.queue.fair_queue is scene.vault.fair_queue
