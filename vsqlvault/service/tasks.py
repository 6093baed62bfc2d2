"""Background work that repeats: periodic tasks, and leases that let one process of several do it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from vsqlvault.errors import VaultError
from vsqlvault.interfaces.storage import Storage

log = logging.getLogger(__name__)
ENDS_WITHIN_SECONDS = 5.0

Step = Callable[[], Awaitable[float | None]]
"""One turn of a task. It returns the seconds until the next turn; None: the task's interval."""


class PeriodicTask:
    """Runs ``step`` at once, then every ``interval_seconds``, until ``stop``. An error is logged and does not end the task."""

    def __init__(
        self,
        name: str,
        step: Step,
        interval_seconds: float,
        *,
        retry_seconds: float | None = None,
        ends_within_seconds: float = ENDS_WITHIN_SECONDS,
    ) -> None:
        """``retry_seconds``: the wait after an error, by default the interval.

        ``ends_within_seconds``: how long ``running`` waits for the turn in progress after ``stop``, before it cancels it.
        """
        self.name = name
        self.interval_seconds = interval_seconds
        self.ends_within_seconds = ends_within_seconds
        self._step = step
        self._retry_seconds = interval_seconds if retry_seconds is None else retry_seconds
        self._woken = asyncio.Event()
        self.is_stopping = False

    async def run(self) -> None:
        """Take turns until ``stop``."""
        while not self.is_stopping:
            seconds = await self._turn()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), seconds)
            if not self.is_stopping:
                self._woken.clear()

    def wake(self) -> None:
        """Take the next turn now."""
        self._woken.set()

    def stop(self) -> None:
        """Let ``run`` end after the turn in progress."""
        self.is_stopping = True
        self._woken.set()

    async def _turn(self) -> float:
        try:
            seconds = await self._step()
        except VaultError as error:
            log.warning(
                "background task failed; it is tried again",
                extra={"task": self.name, "error": error.slug, "detail": error.detail},
            )
            return self._retry_seconds
        except Exception:
            log.exception("background task failed; it is tried again", extra={"task": self.name})
            return self._retry_seconds
        return self.interval_seconds if seconds is None else seconds


class Lease:
    """A lease of the storage: until it expires, no other holder gets it."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        seconds: float,
        *,
        holder: str | None = None,
        renew_after_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``renew_after_seconds``: how long ``acquire`` relies on the last answer before it asks the storage again."""
        self._storage = storage
        self._name = name
        self._seconds = seconds
        self._holder = holder or secrets.token_hex(16)
        self._renew_after_seconds = renew_after_seconds
        self._monotonic = monotonic
        self._acquired_at = 0.0
        self.is_held = False

    async def acquire(self) -> bool:
        """Acquire or renew the lease; False while another holder has it. Raises Unavailable."""
        now = self._monotonic()
        if not self.is_held or now - self._acquired_at >= self._renew_after_seconds:
            self.is_held = await self._storage.acquire_lease(self._name, self._holder, self._seconds)
            self._acquired_at = now
        return self.is_held

    async def release(self) -> None:
        """Release the lease if it is held. If the storage is unavailable, the lease expires by itself."""
        if not self.is_held:
            return
        self.is_held = False
        try:
            await self._storage.release_lease(self._name, self._holder)
        except VaultError as error:
            log.warning("a lease was not released; it expires", extra={"lease": self._name, "error": error.slug})


class LeasedTask(PeriodicTask):
    """A periodic task for one process of those that share a storage.

    Its step calls ``lead`` before it does what only one process may do. When the task ends, the lease is released.
    """

    def __init__(
        self,
        lease: Lease,
        name: str,
        step: Step,
        interval_seconds: float,
        *,
        retry_seconds: float | None = None,
        last_step: Step | None = None,
        ends_within_seconds: float = ENDS_WITHIN_SECONDS,
    ) -> None:
        """``last_step``: runs after ``stop`` if this process leads, before the lease is released."""
        super().__init__(
            name, step, interval_seconds, retry_seconds=retry_seconds, ends_within_seconds=ends_within_seconds
        )
        self._lease = lease
        self._last_step = last_step

    @property
    def is_leader(self) -> bool:
        """Whether this process had the lease when it last asked."""
        return self._lease.is_held

    async def lead(self) -> bool:
        """Return whether it is this process's turn: acquires or renews the lease. Raises Unavailable."""
        return await self._lease.acquire()

    async def run(self) -> None:
        """Take turns until ``stop``; then take the last step and release the lease."""
        await super().run()
        if self.is_leader:
            if self._last_step is not None:
                with suppress(VaultError):
                    await self._last_step()
            await self._lease.release()


@asynccontextmanager
async def running(*tasks: PeriodicTask) -> AsyncIterator[None]:
    """Run the tasks for the length of the block; then stop them, and cancel those that do not end in time."""
    runs = {asyncio.create_task(task.run(), name=task.name): task for task in tasks}
    try:
        yield
    finally:
        for task in tasks:
            task.stop()
        await asyncio.gather(*(_ended(run, task.ends_within_seconds) for run, task in runs.items()))


async def _ended(run: asyncio.Task[None], within_seconds: float) -> None:
    await asyncio.wait([run], timeout=within_seconds)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
