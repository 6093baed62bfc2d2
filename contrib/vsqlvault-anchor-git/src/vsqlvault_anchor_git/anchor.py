"""Stores checkpoints in a repository, outside of requests, one at a time and the newest first."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.model.transparency import Checkpoint
from vsqlvault_anchor_git.repository import Repository

log = logging.getLogger(__name__)
RETRY_SECONDS = 10.0
Answer = TypeVar("Answer")


class GitAnchor(Anchor):
    """Stores the newest signed checkpoint, at most one per interval.

    Checkpoints that were replaced meanwhile are skipped.

    All methods are called in one event loop. Blocking work runs in a thread, and is awaited up to the deadline.
    """

    name = "git"

    def __init__(
        self,
        repository: Repository,
        *,
        interval_seconds: float,
        deadline_seconds: float,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """``retry_seconds``: the maximum wait after a failure."""
        self._repository = repository
        self._retry_seconds = retry_seconds
        self.interval_seconds = interval_seconds
        self._deadline_seconds = deadline_seconds
        self._waiting: Checkpoint | None = None
        self._told = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._late: asyncio.Future[None] | None = None
        self._asked: asyncio.Future[str | None] | None = None
        self._failure: str | None = None
        self._superseded: set[str] = set()

    async def newest(self) -> str | None:
        """See ``Anchor.newest``. While a read of the repository is running, no second one is started.

        Raises:
            SettingsInvalid: the repository cannot be read.
        """
        asked = self._asked = self._asked or in_thread(self._repository.newest)
        try:
            done, _ = await asyncio.wait({asked}, timeout=self._deadline_seconds)
            if not done:
                raise TimeoutError
            self._asked = None
            return asked.result()
        except Exception as error:
            raise SettingsInvalid(
                f"plugins.git-anchor.repository: expected a readable repository, found: {_said(error)}"
            ) from error

    def failure(self) -> str | None:
        """See ``Anchor.failure``."""
        return self._failure

    def supersede(self, note: str) -> None:
        """See ``Anchor.supersede``."""
        self._superseded.add(note)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Remember a signed checkpoint."""
        self._waiting = checkpoint
        self._told.set()

    def start(self) -> None:
        """Start storing checkpoints."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Store the last checkpoint within the deadline, and stop."""
        self._stopping.set()
        self._told.set()
        if self._task is not None:
            await self._task
            self._task = None
        if self._waiting is not None:
            await self._attempt()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            await self._told.wait()
            if self._stopping.is_set():
                return
            kept = await self._attempt()
            pause = self.interval_seconds if kept else min(max(self.interval_seconds, 1.0), self._retry_seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _attempt(self) -> bool:
        """Store the waiting checkpoint, and return whether it is stored.

        If not, it waits, unless a newer one has replaced it.
        """
        checkpoint = self._waiting
        if checkpoint is None:
            return True
        try:
            await self._keep(checkpoint)
        except Exception as error:  # noqa: BLE001 - any error of the library or the network
            self._failure = _said(error)
            log.error(  # noqa: TRY400
                "git anchor: a checkpoint cannot be stored", extra={"size": checkpoint.size, "error": self._failure}
            )
            return False
        if self._failure is not None:
            log.warning("git anchor: checkpoints are stored again", extra={"size": checkpoint.size})
        self._failure = None
        if self._waiting is checkpoint:
            self._waiting = None
            self._told.clear()
        return True

    async def _keep(self, checkpoint: Checkpoint) -> None:
        """Store it in a thread, after a late thread has ended, if there is one."""
        if self._late is not None:
            await self._end_of(self._late)
        superseded = frozenset(self._superseded)
        work = in_thread(lambda: self._repository.keep(checkpoint, superseded))
        await self._end_of(work)
        work.result()

    async def _end_of(self, work: asyncio.Future[None]) -> None:
        done, _ = await asyncio.wait({work}, timeout=self._deadline_seconds)
        self._late = None if done else work
        if not done:
            raise TimeoutError
        work.exception()  # callers read the result


def in_thread(work: Callable[[], Answer]) -> asyncio.Future[Answer]:
    """Run it in its own daemon thread, which does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)

    def run() -> None:
        answer, raised = None, None
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            raised = error
        with suppress(RuntimeError):  # the loop is closed, and nobody waits for the result
            loop.call_soon_threadsafe(settle, answer, raised)

    threading.Thread(target=run, name="git-anchor", daemon=True).start()
    return future


def _said(error: BaseException) -> str:
    """Return the kind of error, and its message if that is short."""
    return f"{type(error).__name__}: {error}"[:200] if str(error) else type(error).__name__
