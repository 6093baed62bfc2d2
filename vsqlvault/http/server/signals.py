"""The signals of a server process: shutdown and reload."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

HANG_UP = frozenset({signal.SIGHUP})
HEARD = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def hold_hang_ups() -> None:
    """Block SIGHUP until ``Signals`` handles it, because it would end a process that is still starting."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANG_UP)


class Signals:
    """Handles signals from its creation on, on the running loop. Signals that were blocked before are handled now.

    A SIGHUP before the handler runs is not lost, and several of them count as one.
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
        """Handle every SIGHUP, one after the other, until cancelled."""
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            await act()
