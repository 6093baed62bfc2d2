"""A signal that arrives while a server starts ends the start."""

from __future__ import annotations

import asyncio

import pytest

from vsqlvault.cli.server_process import _cancelled_by, _StartEnded


async def test_it_cancels_what_is_awaited() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().call_soon(stopping.set)
    with pytest.raises(_StartEnded):
        async with _cancelled_by(stopping):
            await asyncio.sleep(3600)


async def test_after_the_start_it_cancels_nothing() -> None:
    stopping = asyncio.Event()
    async with _cancelled_by(stopping):
        await asyncio.sleep(0)
        stopping.set()
    await asyncio.sleep(0.01)
    assert stopping.is_set()


async def test_another_cancellation_passes() -> None:
    async def start() -> None:
        async with _cancelled_by(asyncio.Event()):
            await asyncio.sleep(3600)

    starting = asyncio.create_task(start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
