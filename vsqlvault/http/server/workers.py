"""Several worker processes on one listening socket: starts, supervises and ends them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from vsqlvault.errors import StartUpRefused
from vsqlvault.http.server.signals import HEARD
from vsqlvault.quick_dataclass import dataclass

log = logging.getLogger(__name__)
_HEARD = HEARD | {signal.SIGCHLD}
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 5.0
_SETTLED_SECONDS = 5.0
UNUSABLE = 2


@dataclass(slots=True)
class _Worker:
    slot: int
    started_at: float


class Workers:
    """Keeps ``count`` processes running ``work`` until this process is stopped.

    ``work`` takes the worker's slot, below ``count``, and returns the exit code. ``UNUSABLE`` ends all workers, because
    a replacement would find the same settings. A worker that ends otherwise is replaced, sooner the longer it lived,
    after ``retire`` was called with its slot. Workers end with this process, however it ends. ``work`` starts with the
    signals of ``HEARD`` blocked, so that none is lost before its handlers are installed.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[int], int],
        ends_within_seconds: float,
        retire: Callable[[int], None],
        hung_up: Callable[[], None],
    ) -> None:
        self._count = count
        self._work = work
        self._retire = retire
        self._hung_up = hung_up
        self._ends_within_seconds = ends_within_seconds
        self._running: dict[int, _Worker] = {}
        self._delay = 0.0
        self._starts_at = 0.0
        self._read_end, self._write_end = os.pipe()

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, and return when all workers have ended.

        On SIGHUP call ``hung_up``, then signal the workers.

        Raises:
            StartUpRefused: a worker could not use the settings, and has logged why.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        try:
            self._supervise()
        finally:
            self._end_all()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _supervise(self) -> None:
        while True:
            while len(self._running) < self._count and time.monotonic() >= self._starts_at:
                self._start()
            heard = signal.sigtimedwait(_HEARD, _FIRST_DELAY_SECONDS)
            if heard is None:
                continue
            if heard.si_signo in {signal.SIGTERM, signal.SIGINT}:
                return
            if heard.si_signo == signal.SIGHUP:
                self._hung_up()
                self._tell(signal.SIGHUP)
            self._bury()

    def _start(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        slot = min(set(range(self._count)) - {worker.slot for worker in self._running.values()})
        pid = os.fork()
        if pid == 0:
            os._exit(self._live(slot))
        self._running[pid] = _Worker(slot, time.monotonic())

    def _live(self, slot: int) -> int:
        """Run as a worker, and return its exit code."""
        code = 1
        try:
            os.close(self._write_end)
            threading.Thread(target=self._end_with_parent, daemon=True).start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            code = self._work(slot)
        except BaseException:
            log.exception("worker failed")
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
        return code

    def _end_with_parent(self) -> None:
        """Wait until the supervisor closes its end of a pipe."""
        os.read(self._read_end, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _bury(self) -> None:
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            worker = self._running.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if code == UNUSABLE:
                raise StartUpRefused("a worker could not start")
            self._retire(worker.slot)
            self._put_off(time.monotonic() - worker.started_at)
            log.error("a worker ended and is replaced", extra={"pid": pid, "exit_code": code})

    def _put_off(self, lived_seconds: float) -> None:
        """The time of the next start: a worker that keeps failing must not use up the CPU."""
        longer = max(self._delay * 2, _FIRST_DELAY_SECONDS)
        self._delay = 0.0 if lived_seconds >= _SETTLED_SECONDS else min(longer, _LONGEST_DELAY_SECONDS)
        self._starts_at = time.monotonic() + self._delay

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._running:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end_all(self) -> None:
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + self._ends_within_seconds
        while self._running:
            if time.monotonic() > deadline:
                self._tell(signal.SIGKILL)
            for pid in list(self._running):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    del self._running[pid]
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)
