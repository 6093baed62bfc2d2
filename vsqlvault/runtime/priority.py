"""Lets work run behind the requests of a vault on the same machine: only while no other thread wants the processor."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, Generic, TypeVar

from vsqlvault.runtime.running import END_SECONDS, run_to_end
from vsqlvault.sandbox.priority import yield_processor

Result = TypeVar("Result")


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
