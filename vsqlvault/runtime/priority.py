"""Lets work run behind the requests of a vault on the same machine: only while no other thread wants the processor."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, Generic, TypeVar

from vsqlvault.runtime.running import END_SECONDS, run_to_end

Result = TypeVar("Result")


def yield_processor() -> None:
    """Give this thread the lowest priority of Linux, ``SCHED_IDLE``, and with it each thread that it starts from now on.

    A thread that holds a lock must not have it: others would wait for the lock, and the thread for a processor. It cannot be
    undone without a privilege. On other systems, and where the system refuses it, the thread keeps its priority.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def run_behind(main: Coroutine[Any, Any, Result]) -> Result:
    """As ``run_to_end``, in a thread that yields the processor. Ctrl-C cancels ``main``."""
    work: _Work[Result] = _Work()
    thread = Thread(target=work.run, args=(main,), name="vsqlvault-behind", daemon=True)
    thread.start()
    try:
        return work.outcome.result()
    except KeyboardInterrupt:
        work.cancel()
        thread.join(END_SECONDS)
        raise


class _Work(Generic[Result]):
    """A coroutine that runs on a loop of another thread."""

    def __init__(self) -> None:
        self.outcome: Future[Result] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def run(self, main: Coroutine[Any, Any, Result]) -> None:
        """Run it to its end, on this thread."""
        yield_processor()
        try:
            self.outcome.set_result(run_to_end(self._entered(main)))
        except BaseException as error:  # noqa: BLE001 - it is raised to the caller
            self.outcome.set_exception(error)

    def cancel(self) -> None:
        """Cancel it, from another thread."""
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # the loop is closed: it has ended
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def _entered(self, main: Coroutine[Any, Any, Result]) -> Result:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        return await main
