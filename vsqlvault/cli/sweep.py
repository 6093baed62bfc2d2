"""``vsql-vault sweep`` and ``scrub``: purge expired entries, and remove purged bytes from the data files."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Callable
from typing import TextIO

from vsqlvault.cli.output import add_json, print_json
from vsqlvault.config import Settings
from vsqlvault.http.schemas.responses import scrub_document, sweep_document
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.purge import ScrubRecord
from vsqlvault.runtime import open_vault, run_to_end
from vsqlvault.service.purge.sweeper import SweepCount

ReadSettings = Callable[[argparse.Namespace], Settings]
LEFT_SOMETHING = 1
_BAR_WIDTH = 40
_BAR_SECONDS = 0.1
_LINE_SECONDS = 5.0


def add_sweep_arguments(sweep: argparse.ArgumentParser) -> None:
    """Add the arguments of ``sweep``."""
    add_json(sweep)
    sweep.add_argument("--dry-run", action="store_true", help="only count the expired entries")
    sweep.add_argument(
        "--confirm-clock",
        action="store_true",
        help="confirm that the storage's clock is correct although it jumped forward by more than a day",
    )


def add_scrub_arguments(scrub: argparse.ArgumentParser) -> None:
    """Add the arguments of ``scrub``."""
    add_json(scrub)
    scrub.add_argument(
        "--lock-seconds",
        type=_seconds,
        metavar="N",
        help="maximum time one step may block requests; default: purge.scrub_lock_seconds",
    )


def sweep(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Sweep, show the progress, and print the result."""
    progress = SweepProgress(sys.stderr)

    async def run() -> SweepCount:
        async with open_vault(read_settings(options), signs=False, creates=False) as vault:
            return await vault.purge.sweeper.sweep(
                Call(SYSTEM, secrets.token_hex(16)),
                dry_run=options.dry_run,
                confirm_clock=options.confirm_clock,
                trigger="command",
                progress=progress,
            )

    try:
        count = run_to_end(run())
    finally:
        progress.end()
    if options.json:
        print_json(sweep_document(count))
        return
    verb = "would be purged" if count.dry_run else "purged"
    for purpose, number in sorted(count.by_purpose.items()):
        print(f"{purpose}: {number} {verb}")
    print(f"{count.purged} {verb}, {count.failed} failed and were kept")
    if count.held:
        print(f"{count.held} kept by legal holds")
    if count.scrub:
        print(_scrubbed(count.scrub))


def scrub(options: argparse.Namespace, read_settings: ReadSettings) -> int:
    """Scrub, print the result, and return 0 if no purged bytes are left in the data files, else 1."""

    async def run() -> ScrubRecord | None:
        async with open_vault(read_settings(options), signs=False, creates=False) as vault:
            return await vault.purge.scrubber.scrub(
                Call(SYSTEM, secrets.token_hex(16)), trigger="command", lock_seconds=options.lock_seconds
            )

    record = run_to_end(run())
    if options.json:
        print_json({"scrub": scrub_document(record) if record else None})
    else:
        print(_scrubbed(record) if record else "nothing to do: no purge since the last scrub")
    return LEFT_SOMETHING if record and not record.completed else 0


def _scrubbed(record: ScrubRecord) -> str:
    if record.completed:
        return "no purged bytes are left in the data files"
    return f"purged bytes are left in the data files: {record.left}"


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 24 * 3600:
        raise argparse.ArgumentTypeError("expected seconds, more than 0 and at most 86400")
    return seconds


class SweepProgress:
    """Shows the progress of a sweep: a bar on a terminal, a line every five seconds elsewhere."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._is_shown = out.isatty()
        self._began = clock()
        self._next = self._began + (0 if self._is_shown else _LINE_SECONDS)

    def __call__(self, count: SweepCount) -> None:
        """Show the count, at most once per interval."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (_BAR_SECONDS if self._is_shown else _LINE_SECONDS)
        text = _progress(count, now - self._began)
        if self._is_shown:
            filled = min(_BAR_WIDTH, _BAR_WIDTH * count.done // max(count.due, 1))
            self._write(f"\r[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {text}\x1b[K")
        else:
            self._write(f"{text}\n")

    def end(self) -> None:
        """Remove the bar from the screen."""
        if self._is_shown:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _progress(count: SweepCount, seconds: float) -> str:
    rate = count.done / seconds if seconds > 0 else 0
    text = f"{count.done:,} of {count.due:,}, {rate:,.0f}/s"
    if rate:
        minutes, left = divmod(round(max(count.due - count.done, 0) / rate), 60)
        text += f", {minutes}:{left:02} left"
    return text
