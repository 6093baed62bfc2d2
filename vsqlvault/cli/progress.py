"""A progress bar for long commands."""

from __future__ import annotations

import sys
import time

_WIDTH = 40
_SECONDS = 0.1


class Bar:
    """Shows the progress of a command on a terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_shown = sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, done: int, of: int) -> None:
        """Show ``done`` of ``of``, at most ten times a second."""
        if self._is_shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS
            filled = min(_WIDTH, _WIDTH * done // max(of, 1))
            line = f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {done} of {of} {self._what}"
            print(line, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Remove the bar from the screen."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
