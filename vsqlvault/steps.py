"""Runs coroutines without asyncio tasks.

A task, and a callback of the event loop each time it continues, cost a request about a tenth of its processor time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
TURN_SECONDS = 0.001
"""After this time the other coroutines of a batch let the event loop handle what has arrived meanwhile."""


class Outcome(asyncio.Future[Result]):
    """A future that may also be awaited by ``Steps``. Who sets its result passes ``waiting`` to ``continue_soon``."""

    waiting: Callable[[], None] | None = None
    """What continues the coroutine that waits for this outcome, if ``Steps`` runs it."""


class Steps:
    """Runs a coroutine from one future that it awaits to the next, in callbacks of the event loop.

    There is no current task meanwhile, so nothing can cancel the coroutine, and it cannot use ``asyncio.timeout``. It must
    handle every error itself. ``on_end`` is called with this object once it has ended.
    """

    __slots__ = ("_coroutine", "_on_end")

    def __init__(self, coroutine: Coroutine[Any, Any, None], on_end: Callable[[Steps], None]) -> None:
        self._coroutine = coroutine
        self._on_end = on_end

    def go_on(self, _: object = None) -> None:
        """Run the coroutine until it awaits a future that is not done, or ends."""
        try:
            awaited = self._coroutine.send(None)
        except StopIteration:
            self._on_end(self)
            return
        except BaseException:
            self._on_end(self)
            raise
        if type(awaited) is Outcome:
            awaited.waiting = self.go_on
        elif awaited is None:  # asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(self.go_on)
        else:
            awaited._asyncio_future_blocking = False  # noqa: SLF001 - what awaits a future resets it, as a task does
            awaited.add_done_callback(self.go_on)


def continue_soon(waiting: list[Callable[[], None]]) -> None:
    """Continue the coroutines that wait for outcomes which are set now, in one callback for all that fit into a turn."""
    if waiting:
        asyncio.get_running_loop().call_soon(_continue, deque(waiting))


def _continue(waiting: deque[Callable[[], None]]) -> None:
    ends_at = time.monotonic() + TURN_SECONDS
    try:
        while waiting:
            waiting.popleft()()
            if time.monotonic() >= ends_at:
                break
    finally:
        if waiting:  # the turn is over, or one raised what ends the process elsewhere, such as SystemExit
            asyncio.get_running_loop().call_soon(_continue, waiting)
