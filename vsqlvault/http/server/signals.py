"""What the system tells a serving process: to end, or to read its settings again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

HANG_UP = frozenset({signal.SIGHUP})
HEARD = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def hold_hang_ups() -> None:
    """Let SIGHUP wait until ``Signals`` hears it: it would end a process that is still starting."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANG_UP)


class Signals:
    """Hears from the moment it is made, on the running loop; what came while signals were held is heard now.

    A SIGHUP before anybody answers it is not lost, and several of them are one.
    """

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._hung_up = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        loop.add_signal_handler(signal.SIGINT, self.stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

    async def on_hang_up(self, act: Callable[[], Awaitable[None]]) -> None:
        """Act on every SIGHUP, one after the other, until cancelled."""
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            await act()
