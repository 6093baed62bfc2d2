"""The vault's background work, run for the length of a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from vsqlvault.service.vault import Vault

SWEEP_ENDS_SECONDS = 10.0


SEQUENCER_ENDS_SECONDS = 5.0


WATCH_ENDS_SECONDS = 5.0


@asynccontextmanager
async def sweeping(vault: Vault, interval_hours: float) -> AsyncIterator[None]:
    """Sweep on a timer for the length of the block (0 hours: never), watch the clock, and measure what is due."""
    work = [vault.purge.clock_guard.run(), vault.purge.gauges.run()]
    if interval_hours:
        work.append(vault.purge.sweeper.run_on_timer(interval_hours))
    async with _beside(work, [vault.purge.clock_guard, vault.purge.gauges, vault.purge.sweeper], SWEEP_ENDS_SECONDS):
        yield


@asynccontextmanager
async def following(vault: Vault) -> AsyncIterator[None]:
    """Keep rules and keys in step with the storage for the length of the block, also while nobody asks for anything."""
    await vault.credentials.inventory.follow()
    task = asyncio.create_task(vault.credentials.inventory.run())
    try:
        yield
    finally:
        vault.credentials.inventory.stop()
        await task


@asynccontextmanager
async def watching(vault: Vault, *, attest: bool = False) -> AsyncIterator[None]:
    """Watch over the controls for the length of the block; ``attest``: and attest retention when it is time."""
    work = [vault.compliance.controls.run()]
    if attest:
        work.append(vault.compliance.attestations.run())
    async with _beside(work, [vault.compliance.controls, vault.compliance.attestations], WATCH_ENDS_SECONDS):
        yield


@asynccontextmanager
async def sequencing(vault: Vault) -> AsyncIterator[None]:
    """Let the transparency log grow for the length of the block, by this process or by another one on the same storage."""
    async with _beside([vault.log.sequencer.run()], [vault.log.sequencer], SEQUENCER_ENDS_SECONDS):
        yield


class _Stoppable(Protocol):
    def stop(self) -> None: ...


@asynccontextmanager
async def _beside(
    work: Iterable[Coroutine[Any, Any, None]], stopped: Iterable[_Stoppable], ends_within: float
) -> AsyncIterator[None]:
    """Let ``work`` run beside the block; then stop it, and cancel what has not ended in so many seconds."""
    tasks = {asyncio.create_task(each) for each in work}
    try:
        yield
    finally:
        for each in stopped:
            each.stop()
        await asyncio.wait(tasks, timeout=ends_within)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
