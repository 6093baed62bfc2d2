"""Runs a coroutine like ``asyncio.run``, and ends within a time limit whatever plugins leave running."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from vsqlvault.runtime.contained_loop import ContainedLoop

log = logging.getLogger(__name__)
END_SECONDS = 2.0
_THREADS = "vsqlvault-io"
_abandoned: list[asyncio.Task[Any]] = []
Result = TypeVar("Result")


def run_to_end(
    main: Coroutine[Any, Any, Result],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = ContainedLoop,
    *,
    on_thread_start: Callable[[], object] | None = None,
) -> Result:
    """Return the result of ``main``, and end every other task and thread of its loop within ``END_SECONDS``.

    Each thread of ``asyncio.to_thread`` calls ``on_thread_start`` first.

    SystemExit or KeyboardInterrupt of another task is logged and ends nothing. A task that ignores its cancellation, and
    a thread that does not return, are abandoned: ``leave`` ends the process without waiting for them.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_run(main, on_thread_start))


def leave(code: int) -> int:
    """Return the exit code, or end the process with it at once if something was abandoned."""
    stuck = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if not stuck and not _abandoned:
        return code
    names = sorted({thread.name for thread in stuck} | {_called(task) for task in _abandoned})
    log.error("the process ends without waiting for tasks and threads that do not end", extra={"left_behind": names})
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


async def _run(main: Coroutine[Any, Any, Result], on_thread_start: Callable[[], object] | None) -> Result:
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor(thread_name_prefix=_THREADS, initializer=on_thread_start)
    loop.set_default_executor(executor)
    try:
        return await main
    finally:
        deadline = time.monotonic() + END_SECONDS
        await _end_tasks(deadline)
        executor.shutdown(wait=False, cancel_futures=True)
        for thread in [each for each in threading.enumerate() if each.name.startswith(_THREADS)]:
            thread.join(max(0.0, deadline - time.monotonic()))
        loop.set_default_executor(ThreadPoolExecutor(1))  # the loop waits for the current one without a limit


async def _end_tasks(deadline: float) -> None:
    """Cancel every other task, and hide those that continue from the loop, which would wait for them."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        ended, going_on = await asyncio.wait(tasks, timeout=max(0.0, deadline - time.monotonic()))
        for task in ended:
            if not task.cancelled() and (error := task.exception()):
                log.error("a task failed while the process ended", extra={"error": type(error).__name__})
        for task in going_on:
            asyncio._unregister_task(task)  # noqa: SLF001 - documented under "Extending"
            _abandoned.append(task)


def _called(task: asyncio.Task[Any]) -> str:
    return f"task {getattr(task.get_coro(), '__qualname__', '?')}"
