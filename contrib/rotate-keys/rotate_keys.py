"""Move the sealed entries of one purpose from one key of a key ring to another, through the vault's API.

The remaining entries are those that the vault lists under the old ``key_ref``, so no state is kept. You can kill and
restart the command at any point, and run several at once. Each entry is retrieved, opened and sealed again, and
replaces exactly the version that was read.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TextIO

from vsqlvault.client import Limits, Retries, Vault, VaultError, errors
from vsqlvault.client.sealed import EnvironmentKeyRing, FileKeyRing, SealedVault, SealError, StaticKeyRing, UnknownKey

DONE, INCOMPLETE, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
MAX_CONNECTIONS = 64
MAX_NAMED_FAILURES = 100
BAR_WIDTH = 24
BAR_SECONDS = 0.1
RETRIES = Retries(repeat_retrievals=True)
"""A retrieval whose response was lost is repeated, because a rotation retrieves every entry anyway."""


class Outcome(Enum):
    """The result for one entry."""

    MOVED = "moved"
    TAKEN = "moved by another worker"
    GONE = "gone"
    HELD = "under legal hold"
    FAILED = "failed"


LEFT_BEHIND = (Outcome.HELD, Outcome.FAILED)
PASSED_OVER: dict[tuple[type[VaultError], ...], Outcome] = {
    (errors.PreconditionFailed, UnknownKey): Outcome.TAKEN,
    (errors.NotThere, errors.IdRetired): Outcome.GONE,
    (errors.LegalHold,): Outcome.HELD,
}
ENDS_ALL = (errors.Unauthenticated, errors.TemporarilyUnavailable, errors.StorageFull)


class Unusable(Exception):
    """The settings or the vault cannot be used. The text is for the operator and contains no secret."""


@dataclass(frozen=True)
class Job:
    """The entries to move, and their key. ``part`` of ``parts``, counted from 1, selects ids by their hash."""

    purpose: str
    old_ref: str
    part: int = 1
    parts: int = 1

    def is_ours(self, external_id: str) -> bool:
        """Whether this part includes the entry."""
        digest = hashlib.sha256(external_id.encode("ascii")).digest()
        return int.from_bytes(digest[:8], "big") % self.parts == self.part - 1


def worklist(sealed: SealedVault, job: Job) -> Iterator[str]:
    """Return the ids of the old key in this part, in the vault's order. Raises Unusable."""
    try:
        yield from (external_id for external_id in sealed.stale(job.purpose, job.old_ref) if job.is_ours(external_id))
    except VaultError as error:
        raise Unusable(f"the vault cannot list {job.purpose}: {shown(error)}") from None


def move(sealed: SealedVault, job: Job, external_id: str) -> tuple[Outcome, str]:
    """Seal one entry under the new key, and return the result with its reason.

    Raises Unusable if no entry can be moved now.
    """
    try:
        return (Outcome.MOVED if sealed.reseal(job.purpose, external_id) else Outcome.TAKEN), ""
    except VaultError as error:
        for kinds, outcome in PASSED_OVER.items():
            if isinstance(error, kinds):
                return outcome, ""
        if isinstance(error, ENDS_ALL) and not isinstance(error, errors.PluginFailure):
            raise Unusable(f"the vault cannot be used: {shown(error)}") from None
        return Outcome.FAILED, error.title if isinstance(error, SealError) else shown(error)


def shown(error: VaultError) -> str:
    """Return status and slug of a problem. Its other texts are not suitable for a terminal."""
    return f"{error.status or ''} {error.slug}".strip()


class Progress:
    """Counts results, and shows progress on a terminal."""

    def __init__(self, total: int | None, out: TextIO) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.left_behind: dict[str, str] = {}
        self._total = total
        self._out = out
        self._shows = total is not None and out.isatty()
        self._started = self._shown = time.monotonic()
        self._lock = threading.Lock()

    def count(self, external_id: str, outcome: Outcome, why: str = "") -> None:
        """Count one entry."""
        with self._lock:
            self.counts[outcome] += 1
            if outcome in LEFT_BEHIND:
                self.left_behind[external_id] = why or outcome.value
            now = time.monotonic()
            if self._shows and now - self._shown >= BAR_SECONDS:
                self._shown = now
                self._out.write(f"\r{self.bar(now - self._started)}\x1b[K")
                self._out.flush()

    def bar(self, seconds: float) -> str:
        """Return the progress line after a number of seconds."""
        counted = sum(self.counts.values())
        total = max(self._total or 0, counted, 1)
        rate = counted / seconds if seconds > 0 else 0.0
        left = f"{(total - counted) / rate:.0f} s left" if rate else "time left unknown"
        filled = BAR_WIDTH * counted // total
        return f"[{'#' * filled}{'-' * (BAR_WIDTH - filled)}] {counted:,}/{total:,}  {rate:,.0f}/s  {left}"

    def finish(self) -> None:
        """End the line, name the entries that were not moved, and print a summary."""
        if self._shows:
            self._out.write("\r\x1b[K")
        for external_id, why in list(self.left_behind.items())[:MAX_NAMED_FAILURES]:
            self._out.write(f"not moved: {external_id}: {why}\n")
        if (more := len(self.left_behind) - MAX_NAMED_FAILURES) > 0:
            self._out.write(f"not moved: {more:,} more\n")
        if not self.counts:
            return
        seconds = time.monotonic() - self._started
        told = ", ".join(f"{outcome.value} {self.counts[outcome]:,}" for outcome in Outcome)
        self._out.write(f"{told}; {seconds:.1f} s\n")
        self._out.flush()


class Rotation:
    """Workers that move the entries that one of them lists, repeatedly until there are no new ones."""

    def __init__(self, sealed: SealedVault, job: Job, progress: Progress, stop: threading.Event, workers: int) -> None:
        self._sealed = sealed
        self._job = job
        self._progress = progress
        self._stop = stop
        self._workers = workers
        self._failures: list[Unusable] = []

    def run(self) -> None:
        """Move everything. Raises Unusable if the vault cannot be used; entries in progress are completed first."""
        while not self._stop.is_set():
            before = sum(self._progress.counts.values())
            self._once()
            if self._failures:
                raise self._failures[0]
            if sum(self._progress.counts.values()) == before:
                return

    def _once(self) -> None:
        waiting: queue.Queue[str | None] = queue.Queue(2 * self._workers)
        threads = [threading.Thread(target=self._work, args=(waiting,)) for _ in range(self._workers)]
        for thread in threads:
            thread.start()
        try:
            for external_id in worklist(self._sealed, self._job):
                if self._stop.is_set():
                    break
                if external_id not in self._progress.left_behind:
                    waiting.put(external_id)
        finally:
            for _ in threads:
                waiting.put(None)
            for thread in threads:
                thread.join()

    def _work(self, waiting: queue.Queue[str | None]) -> None:
        """Move queued entries until there is a None. After a stop the queue is emptied without moving entries."""
        while (external_id := waiting.get()) is not None:
            if self._stop.is_set():
                continue
            try:
                outcome, why = move(self._sealed, self._job, external_id)
            except Unusable as lost:
                self._failures.append(lost)
                self._stop.set()
            else:
                self._progress.count(external_id, outcome, why)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's arguments. None is a secret, because other users of the host can read them."""
    parser = argparse.ArgumentParser(prog="rotate-keys", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", required=True, help="of the vault, such as https://vault.example:8443")
    parser.add_argument("--purpose", required=True)
    parser.add_argument("--from", dest="old_ref", required=True, metavar="KEY_REF", help="of the key to retire")
    parser.add_argument("--to", dest="new_ref", required=True, metavar="KEY_REF", help="of the key to use from now on")
    ring = parser.add_mutually_exclusive_group(required=True)
    ring.add_argument(
        "--key-ring", type=Path, metavar="FILE", help="a key ring with both keys, as described in docs/sealing.md"
    )
    ring.add_argument("--key-ring-env", metavar="NAME", help="the environment variable with the key ring")
    api = parser.add_mutually_exclusive_group()
    api.add_argument("--api-key-file", type=Path)
    api.add_argument("--api-key-env", metavar="NAME", default="VSQL_VAULT_API_KEY")
    parser.add_argument("--api-key-header", default="X-Vault-Key")
    parser.add_argument("--ca-file", type=Path, help="certificate authorities for the server, instead of the system's")
    parser.add_argument("--client-cert", type=Path, help="certificate and key of this client, in one PEM file")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="move only part K of N of the ids")
    parser.add_argument("--connections", type=int, default=4, help="entries moved in parallel; default: 4")
    parser.add_argument("--dry-run", action="store_true", help="print the number of entries to move")
    return parser.parse_args(arguments)


def job_of(arguments: argparse.Namespace) -> Job:
    """Return the entries to move. Raises Unusable."""
    part, _, parts = arguments.part.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise Unusable("--part: expected K/N with 1 <= K <= N")
    if not 1 <= arguments.connections <= MAX_CONNECTIONS:
        raise Unusable(f"--connections: expected 1 to {MAX_CONNECTIONS}")
    return Job(arguments.purpose, arguments.old_ref, int(part), int(parts))


def ring_of(arguments: argparse.Namespace) -> StaticKeyRing:
    """Return a ring of the two keys; the new one seals. Raises Unusable."""
    old, new = arguments.old_ref, arguments.new_ref
    if old == new:
        raise Unusable("--to: expected another key_ref than --from")
    read = FileKeyRing(arguments.key_ring) if arguments.key_ring else EnvironmentKeyRing(arguments.key_ring_env)
    keys: dict[str, bytes] = {}
    for option, key_ref in (("--from", old), ("--to", new)):
        try:
            keys[key_ref] = read.opening_key(key_ref, b"")
        except UnknownKey:
            raise Unusable(f"{option}: expected a key_ref in the key ring") from None
    if keys[old] == keys[new]:
        raise Unusable("--to: expected a different key than --from, found the same key under another name")
    return StaticKeyRing(keys, new)


def api_key_of(arguments: argparse.Namespace) -> str:
    """Return the credential. Raises Unusable."""
    if arguments.api_key_file is not None:
        try:
            return str(arguments.api_key_file.read_text("ascii")).strip()
        except (OSError, UnicodeDecodeError):
            raise Unusable(f"{arguments.api_key_file}: expected a file with an API key") from None
    key = os.environ.get(arguments.api_key_env)
    if not key:
        raise Unusable("--api-key-file, --api-key-env: expected an API key in a file or in an environment variable")
    return key


def vault_of(arguments: argparse.Namespace, stop: threading.Event) -> Vault:
    """Return the vault. A stop ends the pause before a retry. Raises VaultError."""
    connections = arguments.connections + 1
    return Vault(
        arguments.url,
        key=api_key_of(arguments),
        key_header=arguments.api_key_header,
        verify=arguments.ca_file or True,
        cert=arguments.client_cert,
        limits=Limits(connections, connections),
        retries=RETRIES,
        sleep=stop.wait,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    asked, stop = parsed(arguments), threading.Event()

    def interrupted(_: int, __: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        job, ring = job_of(asked), ring_of(asked)
        with SealedVault(vault_of(asked, stop), ring) as sealed:
            return _rotated(sealed, job, asked, stop)
    except Unusable as problem:
        sys.stderr.write(f"rotate-keys: {problem}\n")
    except errors.Unusable as problem:
        sys.stderr.write(f"rotate-keys: {problem.detail or problem.title}\n")
    return UNUSABLE


def _rotated(sealed: SealedVault, job: Job, asked: argparse.Namespace, stop: threading.Event) -> int:
    total = sum(1 for _ in worklist(sealed, job)) if asked.dry_run or sys.stderr.isatty() else None
    if asked.dry_run:
        sys.stdout.write(f"{total}\n")
        return DONE
    progress = Progress(total, sys.stderr)
    try:
        Rotation(sealed, job, progress, stop, asked.connections).run()
    finally:
        progress.finish()
    if stop.is_set():
        return INTERRUPTED
    return INCOMPLETE if progress.left_behind else DONE


if __name__ == "__main__":
    sys.exit(main())
