"""Shares the capacity of the vault between apps, so that the requests of one app do not delay those of another."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import field

from vsqlvault.errors import Overloaded
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.steps import Outcome, continue_soon

MAX_RUNNING = 32
"""How many requests run at once while several apps have requests. More of them make batches that others wait for."""

AHEAD_SHARE = 2
"""An app goes ahead if it runs at most one in this many of its share of the requests that run."""

MAX_WAIT_SECONDS = 30.0

ACTIVE_SECONDS = 10.0
"""An app counts as one that has requests for this long after its newest request."""


@dataclass(slots=True, eq=False)
class _App:
    """The requests of one app: how many run, those that wait and since when, and when the newest one came."""

    running: int = 0
    waiting: deque[tuple[Outcome[None], float]] = field(default_factory=deque)
    came_at: float = 0.0


class FairQueue:
    """Decides which requests run at once, by app. All apps have the same weight.

    The requests of an app that is alone all run at once. While several apps have requests, at most ``max_running`` run, and
    each app may have its share of them at any time, at least one: a request within the share of its app never waits. Capacity
    that other apps do not use goes to the app with the fewest running requests. The requests of one app run in the order in
    which they came. A request that has waited for ``max_wait_seconds`` is not run: if the storage hangs, each request that
    runs takes as long as that.

    An app goes ahead if it runs at most half of an equal share of the requests that run. Its requests are first in the next
    batch of a storage that takes one batch at a time.
    """

    def __init__(
        self,
        *,
        max_waiting: int,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        max_running: int = MAX_RUNNING,
        active_seconds: float = ACTIVE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``max_waiting``: how many requests of one app may wait."""
        self._max_waiting = max_waiting
        self._max_wait_seconds = max_wait_seconds
        self._max_running = max_running
        self._active_seconds = active_seconds
        self._monotonic = monotonic
        self._apps: dict[str, _App] = {}
        self._running = 0
        self._forget_at = 0.0
        self.waiting = 0
        """How many requests wait."""
        self.delayed = 0
        """How many requests have had to wait."""

    def enter(self, name: str) -> Outcome[None] | None:
        """Begin a request of the app ``name``: at once if this returns None, otherwise once ``wait`` returns.

        ``leave`` follows, unless ``wait`` raises.

        Raises:
            Overloaded: too many requests of the app wait.
        """
        apps = self._apps
        app = apps.get(name) or self._add(name)
        if len(apps) > 1:
            app.came_at = now = self._monotonic()
            if now >= self._forget_at:
                self._forget_inactive(now)
            if self._running >= self._max_running and app.running >= self._share():
                return self._delay(app, now)
        app.running += 1
        self._running += 1
        return None

    def has_quiet_app(self) -> bool:
        """Whether several apps have requests, and one of them goes ahead."""
        apps = self._apps
        if len(apps) <= 1:
            return False
        most = self._running // (len(apps) * AHEAD_SHARE)
        return any(app.running <= most for app in apps.values())

    def goes_ahead(self, name: str | None) -> bool:
        """Whether requests of the app ``name`` go before those of other apps."""
        apps = self._apps
        if len(apps) <= 1 or name is None:
            return False
        app = apps.get(name)
        return app is not None and app.running * len(apps) * AHEAD_SHARE <= self._running

    async def wait(self, name: str, turn: Outcome[None]) -> None:
        """Return when a request that ``enter`` delayed may run. If it is cancelled, it is not run.

        Raises:
            Overloaded: it has waited too long.
        """
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(name)
            elif (app := self._apps.get(name)) is not None:
                self._withdraw(app, turn)
            raise

    def leave(self, name: str) -> None:
        """End a request, and start those that may run now."""
        self._apps[name].running -= 1
        self._running -= 1
        if self.waiting:
            self._start_waiting()

    def _withdraw(self, app: _App, turn: Outcome[None]) -> None:
        for waiting in app.waiting:
            if waiting[0] is turn:
                app.waiting.remove(waiting)
                self.waiting -= 1
                return

    def _share(self) -> int:
        """How many requests an app may run at any time."""
        apps = len(self._apps)
        return sys.maxsize if apps == 1 else max(1, self._max_running // apps)

    def _add(self, name: str) -> _App:
        """Add an app. The other apps count as active from now on, because nothing was noted while one was alone."""
        now = self._monotonic()
        if len(self._apps) == 1:
            for other in self._apps.values():
                other.came_at = now
            self._forget_at = now + self._active_seconds
        app = self._apps[name] = _App(came_at=now)
        return app

    def _delay(self, app: _App, now: float) -> Outcome[None]:
        if len(app.waiting) >= self._max_waiting:
            raise Overloaded
        turn: Outcome[None] = Outcome()
        app.waiting.append((turn, now))
        self.waiting += 1
        self.delayed += 1
        return turn

    def _forget_inactive(self, now: float) -> None:
        self._forget_at = now + self._active_seconds
        oldest = now - self._active_seconds
        for name, app in list(self._apps.items()):
            if not app.running and app.came_at <= oldest:
                del self._apps[name]
        if self.waiting:  # the shares have grown
            self._start_waiting()

    def _start_waiting(self) -> None:
        oldest = self._monotonic() - self._max_wait_seconds
        decided: list[Callable[[], None]] = []
        while self.waiting:
            app = min((each for each in self._apps.values() if each.waiting), key=_running_of)
            if self._running >= self._max_running and app.running >= self._share():
                break
            turn, since = app.waiting.popleft()
            self.waiting -= 1
            if turn.done():  # cancelled
                continue
            if since < oldest:
                turn.set_exception(Overloaded())
            else:
                app.running += 1
                self._running += 1
                turn.set_result(None)
            if turn.waiting is not None:
                decided.append(turn.waiting)
        continue_soon(decided)


def _running_of(app: _App) -> int:
    return app.running
