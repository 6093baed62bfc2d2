"""Kills ``archive-audit`` and ``drop-archived`` at random points: no row is archived twice or never.

    python -m benchmarks.archive_kills --kills 100 [--storage sqlite postgresql] [--seed 1]
    python -m benchmarks.archive_kills --kills 40 --rows 16384 --commands drop-archived

Most kills of a drop of few rows hit the verification before it; more rows make the drop itself longer. The old rows of a vault
are written before its first archive: an archive with a row of today is too young to be dropped. After each kill, the archives
in the vault follow each other without a gap, every leaf is in the vault or in one archive, and ``verify --archive`` passes.
``kill -9`` comes after a random time, at most a little more than a whole run takes. Exit 1: an invariant was violated.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from benchmarks.bench_archive import KEY, SETTINGS
from tests.support.postgres import PostgresServer
from tests.support.server import VaultServer
from tests.support.warm_start import ForkedProcess, start_vault
from vsqlvault.config import load_settings
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.times import format_time
from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.archive_drop import ENDED
from vsqlvault.proof.tiles import WIDTH
from vsqlvault.proof.tree import leaf_hash
from vsqlvault.runtime import open_vault
from vsqlvault.service.log.archive.drop import LEASE
from vsqlvault.service.log.archive.files import ArchiveFiles
from vsqlvault.service.log.archive.rows import newest_drop
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_purge_record, an_access_record, an_entry

Result = TypeVar("Result")
AT_ONCE, OLD = 1_024, timedelta(days=400)
BETWEEN_SECONDS = 0.01
ARCHIVES = 4
"""How many archives a vault gets. Then there is a new vault."""
MAX_KILLS_OF_A_RUN = 5
SLACK = 1.1
EARLIEST = {"archive-audit": 0.05, "drop-archived": 0.4}
"""The share of a run before which it is not killed: a drop begins with the verification of the archive."""


class Schedule:
    """Vaults that are archived, dropped and killed by turns. ``violations`` has a sentence for each fault."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chance = random.Random(chosen.seed)
        self._each: int = chosen.rows
        self._kills: int = chosen.kills
        self._kills_of: list[str] = chosen.commands
        self._took = {"archive-audit": 1.0, "drop-archived": 1.0}
        self.points: Counter[str] = Counter()
        self.violations: list[str] = []

    @property
    def is_over(self) -> bool:
        """Whether the number of kills is reached."""
        return self.points.total() >= self._kills

    def run(self, server: VaultServer) -> None:
        """Kill the commands of one vault. Each run of a command is killed up to five times, and then runs to its end."""
        self._server = server
        self._files = ArchiveFiles(server.directory / "archive")
        self._files.directory.mkdir()
        for before in asyncio.run(self._inside(self._grow)):
            self._before = before
            for name in self._took:
                for _ in range(MAX_KILLS_OF_A_RUN if name in self._kills_of else 0):
                    if not self._killed(name):
                        break
                    self.points[asyncio.run(self._inside(self._point_of))] += 1
                    self._check(name)
                else:
                    self._finish(name)
                self._check(name)
                self.violations += asyncio.run(self._inside(self._unfinished, name))
            reached = ", ".join(f"{count} {point}" for point, count in sorted(self.points.items()))
            print(f"  {self.points.total()} kills, {len(self.violations)} violations: {reached}", flush=True)
            if self.is_over:
                return

    def _killed(self, name: str) -> bool:
        """Start a command and kill it. Return False if it ended before."""
        self._forget_lease()
        process, began = self._start(name), time.monotonic()
        try:
            code = process.wait(self._chance.uniform(EARLIEST[name] * self._took[name], SLACK * self._took[name]))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        if code:
            self.violations.append(f"{name} ended with {code}: {self._output()}")
        self._took[name] = time.monotonic() - began
        return False

    def _finish(self, name: str) -> None:
        self._forget_lease()
        began = time.monotonic()
        if code := self._start(name).wait():
            self.violations.append(f"{name}, repeated, ended with {code}: {self._output()}")
        self._took[name] = time.monotonic() - began

    def _check(self, name: str) -> None:
        if code := self._start("verify").wait():
            self.violations.append(f"verify after {name} ended with {code}: {self._output()}")
        self.violations += asyncio.run(self._inside(self._faults))

    def _start(self, name: str) -> ForkedProcess | subprocess.Popen[bytes]:
        directory = str(self._files.directory)
        added = {
            "archive-audit": ["--out", directory, "--before", self._before],
            "drop-archived": ["--archive", directory],
        }
        of_verify = ["--archive", directory] if self._files.numbers() else []
        command = [sys.executable, "-m", "vsqlvault", name, "--config", str(self._server.directory / "vault.toml")]
        command += ["--vkey", str(KEY.verifier), *added.get(name, of_verify)]
        with (self._server.directory / "output").open("wb") as output:
            return start_vault(command, output, self._server.directory, dict(os.environ))

    def _output(self) -> str:
        return (self._server.directory / "output").read_text("utf-8").strip()[-400:]

    def _forget_lease(self) -> None:
        """A killed drop leaves its lease for a minute, in which another one is refused."""
        statement = f"DELETE FROM {{}}leases WHERE name = '{LEASE}'"
        self._server.query(sqlite=statement.format(""), postgresql=statement.format("vault."))

    async def _inside(self, work: Callable[..., Awaitable[Result]], *arguments: str) -> Result:
        async with open_vault(load_settings(self._server.directory / "vault.toml")) as vault:
            return await work(vault, *arguments)

    async def _grow(self, vault: Vault) -> list[str]:
        """Write the old rows of each archive. Return a time after the checkpoint of each."""
        at, ends = (await vault.queue.read()).now - OLD, list[str]()
        for first in range(0, self._each * ARCHIVES, AT_ONCE):
            numbers = range(first, first + AT_ONCE - 8)
            rows = tuple(an_access_record(at=at, request_id=f"{n:032x}", operation=Operation.RETRIEVE) for n in numbers)
            gone = tuple(a_purge_record(an_entry(f"k{first}-{n}"), purged_at=at) for n in range(8))
            await vault.queue.commit(Write(rows, purges=gone))
            if (first + AT_ONCE) % self._each == 0:
                await vault.log.sequencer.sequence()
                await asyncio.sleep(BETWEEN_SECONDS)
                ends.append(format_time((await vault.queue.read()).now))
                await asyncio.sleep(BETWEEN_SECONDS)
        return ends

    async def _unfinished(self, vault: Vault, name: str) -> list[str]:
        """Return that a command which ran to its end archived or dropped nothing."""
        newest = (await vault.storage.archives())[-1:]
        if not newest:
            return [f"{name} ended, and there is no archive"]
        drop = await newest_drop(vault.storage, newest[0].number)
        if (drop is not None and drop[1].state == ENDED) != (name == "drop-archived"):
            return [f"{name} ended, and the drop of archive {newest[0].number} is {drop and drop[1].state}"]
        return []

    async def _point_of(self, vault: Vault) -> str:
        """Return how far the killed command had come."""
        archives = await vault.storage.archives()
        newest = archives[-1] if archives else None
        end = newest.end if newest else 0
        if len(self._files.numbers()) > len(archives):
            return "archive: manifest written, not recorded"
        if self._files.bundle(end // WIDTH):
            return "archive: bundles written, no manifest"
        drop = await newest_drop(vault.storage, newest.number) if newest else None
        if newest is None or drop is None:
            return "archive or drop: nothing new written or recorded"
        if drop[1].state == ENDED:
            return "archive or drop: the one before is complete"
        left = len(await vault.storage.leaf_rows(newest.first, newest.end - newest.first))
        if left == newest.end - newest.first:
            return "drop: begun, nothing dropped"
        return "drop: some rows dropped" if left else "drop: all rows dropped, its end not recorded"

    async def _faults(self, vault: Vault) -> list[str]:
        """Return each gap or overlap of archives, and each leaf that is nowhere."""
        archives, found, end = await vault.storage.archives(), list[str](), 0
        for number, made in enumerate(archives, start=1):
            if (made.number, made.first) != (number, end):
                found.append(f"archive {made.number} begins at {made.first}, expected archive {number} at {end}")
            end = made.end
        size = await vault.storage.tree_size()
        at_hand = {row.index for row in await vault.storage.leaf_rows(0, size) if row.record is not None}
        for index in sorted(set(range(size)) - at_hand):
            if index >= end:
                found.append(f"leaf {index} is neither in the vault nor below the end {end} of the archives")
        for bundle in range(end // WIDTH):
            hashes = b"".join(leaf_hash(leaf) for leaf in self._files.bundle(bundle))
            if hashes != (await vault.storage.tiles([TileKey(0, bundle)])).get(TileKey(0, bundle)):
                found.append(f"bundle {bundle} of the archive has other leaves than the tree")
        return found


def campaign(new_url: Callable[[], str | None], chosen: argparse.Namespace) -> list[str]:
    """Run a schedule on new storages, and return its violations."""
    schedule, began = Schedule(chosen), time.monotonic()
    while not schedule.is_over:
        with tempfile.TemporaryDirectory() as name:
            environment: Mapping[str, str] = {"SIGNING": KEY.reveal()}
            server = VaultServer(Path(name), settings=SETTINGS, database_url=new_url(), environment=environment)
            os.environ |= {**environment, "VSQL_VAULT_API_KEY": server.admin_key}
            schedule.run(server)
            product = server.database_url.partition(":")[0]
    seconds = time.monotonic() - began
    print(f"{product}: {schedule.points.total()} kills, {len(schedule.violations)} violations, {seconds:.0f} s")
    for point, count in sorted(schedule.points.items()):
        print(f"  {count:4} {point}", flush=True)
    return schedule.violations


def main() -> int:
    """Kill on each storage."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=2_048, help="of each archive, a multiple of 1024")
    parser.add_argument(
        "--commands", nargs="+", default=list(EARLIEST), choices=list(EARLIEST), help="which are killed"
    )
    parser.add_argument("--storage", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    chosen = parser.parse_args()
    found: list[str] = []
    if "sqlite" in chosen.storage:
        found += campaign(lambda: None, chosen)
    if "postgresql" in chosen.storage:
        with PostgresServer() as postgres:
            found += campaign(lambda: postgres.url(postgres.create_database()), chosen)
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
