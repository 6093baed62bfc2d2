"""An event loop that SystemExit and KeyboardInterrupt of a task do not end.

asyncio sets such an exception in the task that raised it, and raises it again out of the loop. A task that a plugin started
itself, or a callback of one, would end the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

log = logging.getLogger(__name__)
if TYPE_CHECKING:
    _Base = asyncio.SelectorEventLoop
else:
    _Base = object


class _Contained(_Base):
    """Continues after SystemExit and KeyboardInterrupt of any task or callback but the awaited one.

    The exceptions that end it are those of the future that ``run_until_complete`` waits for, and a second SIGINT while
    ``asyncio.Runner`` handles that signal.
    """

    _awaited: asyncio.Future[Any] | None = None
    _is_stop_requested = False

    def run_until_complete(self, future: Any) -> Any:
        """Run until the future is done, and return its result."""
        before, self._awaited = self._awaited, asyncio.ensure_future(future, loop=self)
        try:
            return super().run_until_complete(self._awaited)
        finally:
            self._awaited = before

    def run_forever(self) -> None:
        """Run until ``stop`` is called."""
        try:
            while True:
                try:
                    super().run_forever()
                except (SystemExit, KeyboardInterrupt) as error:
                    if self._is_for_the_caller(error):
                        raise
                    log.error("a task or callback tried to end the process", extra={"error": type(error).__name__})  # noqa: TRY400 - the text of a plugin's error is not logged
                    if not self._is_stop_requested:
                        continue
                return
        finally:
            self._is_stop_requested = False

    def stop(self) -> None:
        """End ``run_forever`` after the current iteration."""
        self._is_stop_requested = True
        super().stop()

    def _is_for_the_caller(self, error: BaseException) -> bool:
        awaited = self._awaited
        if awaited is not None and awaited.done():
            return not awaited.cancelled() and awaited.exception() is error
        return _is_of_signal(error)


class ContainedLoop(_Contained, asyncio.SelectorEventLoop):
    """The event loop of commands, and of a server without uvloop."""


@cache
def server_loop(*, has_tls: bool) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the class of a server's event loop: uvloop's, if it is installed and the server has no TLS.

    A loop of uvloop must be made after the seccomp filter is in force. Its library tries ``io_uring``, which the filter
    denies, and uses epoll if it is denied from the beginning. uvloop reads from a new connection although its protocol has
    paused it, so that the first bytes of a TLS handshake could be lost.
    """
    if has_tls:
        return ContainedLoop
    try:
        uvloop = import_module("uvloop")
    except ImportError:
        return ContainedLoop
    return type("ContainedUvloop", (_Contained, uvloop.Loop), {})


def loop_name() -> str:
    """Return the name and version of the running loop's library, for the log."""
    if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        return "asyncio"
    return f"uvloop {import_module('uvloop').__version__}"


def _is_of_signal(error: BaseException) -> bool:
    """Whether the runner's handler of SIGINT raised it."""
    place, handler = error.__traceback__, getattr(asyncio.Runner, "_on_sigint", None)
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and handler is not None and place.tb_frame.f_code is handler.__code__
