"""A thread that runs functions one after another, and whose answers are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class WorkerThread:
    """Runs functions in the order of their calls. The thread does not keep the process alive."""

    def __init__(self) -> None:
        self.kept: object = None
        """An object that is not freed before ``end``, even while the process ends: a connection that is freed is closed."""
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="vsqlvault-sqlite", daemon=True)
        self._thread.start()

    async def run(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Return ``function(*arguments)``. It runs to its end even if the caller is cancelled. Raises as the function."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._calls.put((future, partial(function, *arguments)))
        return await future

    def end(self) -> None:
        """End the thread after the functions that were called before. None may be called afterwards."""
        self._calls.put(None)

    def _work(self) -> None:
        while call := self._calls.get():
            future, function = call
            try:
                answer = partial(_set_answer, future, function())
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                answer = partial(_set_error, future, error)
            with suppress(RuntimeError):  # the event loop is closed: nobody waits for the answer
                future.get_loop().call_soon_threadsafe(answer)
            del call, future, function, answer  # they would be kept until the next call


def _set_answer(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _set_error(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
