"""Power cuts of the machine on which PostgreSQL runs, and the vault beside it.

The server's data directory is recorded from a clean stop on, with the calls of all its processes. Each image starts the same
server, which recovers.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from pathlib import Path

from tests.faults.campaign import workload
from tests.faults.disk import Disk, Record, records_in
from tests.faults.invariants import Acknowledged, violations
from tests.faults.workload import settings_of
from tests.support.postgres import PostgresServer, account
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import open_storage

DATA = "data/"
IGNORED = ("data/postmaster", "data/pg_stat_tmp/", "log", "record", ".s.PGSQL")


class RecordedServer:
    """A server whose writes are recorded while the workload runs, and that starts again on images of its directory."""

    def __init__(self, directory: Path, shim: Path) -> None:
        self._server = PostgresServer({"fsync": "on", "autovacuum": "off"}, quick=True)
        self._record = self._server.directory / "record"
        self._shim = self._server.directory / shim.name  # where the server's user may read it
        shutil.copyfile(shim, self._shim)
        self._base = directory / "base"
        """Holds the data directory as it was stopped, below the name that the records give it."""
        self._url = ""

    def __enter__(self) -> RecordedServer:
        self._server.start()
        self._url = self._server.url(self._server.create_database())
        asyncio.run(self._migrate())
        self._server.stop()
        shutil.copytree(self._server.data_directory, self._base / DATA)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def recorded(self, seed: int, acknowledgements: int) -> list[Record]:
        """Run the workload until it has acknowledged this many changes, and return what it and the server did to files."""
        place = self._server.directory
        self._record.touch()
        self._record.chmod(0o666)  # the server runs as another user
        variables = {"LD_PRELOAD": str(self._shim), "FAULT_DIRECTORY": str(place), "FAULT_RECORD": str(self._record)}
        self._server.environment = variables
        self._server.start()
        with workload(self._url, place, seed, variables) as process:
            while process.poll() is None and (place / "acks").read_bytes().count(b'"ok"') < acknowledgements:
                time.sleep(0.01)
        self._server.stop("immediate")
        self._server.environment = {}
        return list(records_in(self._record))

    def cut(self, records: list[Record], seed: int, cuts: int) -> list[str]:
        """Cut the power ``cuts`` times within the records, and return the violations."""
        chance, disk, at, found = random.Random(seed), Disk(self._base, keeps_names=True), 0, []
        first = next((place for place, record in enumerate(records) if record.name == "acks"), 0)
        for moment in sorted(chance.randint(first, len(records)) for _ in range(cuts)):
            while at < moment:
                name = records[at].name
                if not name.startswith(IGNORED) and not (self._base / name).is_dir():
                    disk.apply(records[at])
                at += 1
            self._restore(disk.image(chance), disk.gone)
            self._server.start()
            try:
                said = Acknowledged.parse(bytes(disk.said))
                broken = asyncio.run(violations(self._url, self._server.directory, said))
            finally:
                self._server.stop("immediate")
            found += [f"seed {seed}, record {moment}: {each}" for each in broken]
        return found

    def _restore(self, image: dict[str, bytes], gone: set[str]) -> None:
        place = self._server.data_directory
        shutil.rmtree(place)
        shutil.copytree(self._base / DATA, place)
        for name in gone:
            (place.parent / name).unlink(missing_ok=True)
        for name, content in image.items():
            if name.startswith(DATA):
                (place.parent / name).write_bytes(content)
        if owner := account():
            for path in (place, *place.rglob("*")):
                os.chown(path, owner["user"], owner["group"])

    async def _migrate(self) -> None:
        storage = await open_storage(Plugins(settings_of(self._url, self._server.directory)))
        await storage.migrate()
        await storage.close()
