"""``python -m tests.faults``: a long campaign of power cuts, kills and failed calls. Exit 1 if an invariant was violated."""

from __future__ import annotations

import argparse
import errno
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.campaign import build_shim, cut, failed, killed, recorded
from tests.faults.postgres_cuts import RecordedServer
from tests.support.postgres import PostgresServer

CUTS_PER_RUN = 100
KILLS_PER_STORAGE = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    for name, count in (("cuts", 1000), ("postgresql-cuts", 200), ("kills", 200), ("failures", 60), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=count)
    options = parser.parse_args()
    found: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shim = build_shim(directory)
        if shim is None:
            print("no C compiler: no power cuts and no failed calls")
        else:
            found += _cuts(directory, shim, options.seed, options.cuts)
            found += _postgresql_cuts(directory, shim, options.seed, options.postgresql_cuts)
            found += _failures(directory, shim, options.seed, options.failures)
        found += _kills(directory, options.seed, options.kills)
    for each in found:
        print(each)
    return 1 if found else 0


def _cuts(directory: Path, shim: Path, seed: int, cuts: int) -> list[str]:
    found, began = [], time.monotonic()
    for start in range(0, cuts, CUTS_PER_RUN):
        run = seed * 10_000 + start
        records = recorded(directory, shim, run, 150)
        found += cut(records, directory, run, min(CUTS_PER_RUN, cuts - start))
    print(f"{cuts} power cuts: {len(found)} violations, {time.monotonic() - began:.0f} s", flush=True)
    return found


def _postgresql_cuts(directory: Path, shim: Path, seed: int, cuts: int) -> list[str]:
    found, began = [], time.monotonic()
    for start in range(0, cuts, CUTS_PER_RUN):
        place = directory / f"postgresql-{start}"
        place.mkdir()
        with RecordedServer(place, shim) as server:
            run = seed * 10_000 + start
            found += server.cut(server.recorded(run, 300), run, min(CUTS_PER_RUN, cuts - start))
    print(f"{cuts} power cuts of PostgreSQL: {len(found)} violations, {time.monotonic() - began:.0f} s", flush=True)
    return found


def _failures(directory: Path, shim: Path, seed: int, failures: int) -> list[str]:
    found, began, chance = [], time.monotonic(), random.Random(seed)
    for number in range(failures):
        code = (errno.EIO, errno.ENOSPC)[number % 2]
        found += failed(directory, shim, chance.randint(1, 800), code, once=chance.random() < 0.5)
    print(f"{failures} failed calls: {len(found)} violations, {time.monotonic() - began:.0f} s", flush=True)
    return found


def _kills(directory: Path, seed: int, kills: int) -> list[str]:
    found, began = [], time.monotonic()
    with PostgresServer(quick=True) as postgres:
        for start in range(0, kills, KILLS_PER_STORAGE):
            place = directory / f"kills-{start}"
            place.mkdir()
            is_sqlite = start // KILLS_PER_STORAGE % 2 == 0
            url = f"sqlite:///{place / 'vault.db'}" if is_sqlite else postgres.url(postgres.create_database())
            found += killed(url, place, seed * 100 + start, min(KILLS_PER_STORAGE, kills - start))
    print(f"{kills} kills on both storages: {len(found)} violations, {time.monotonic() - began:.0f} s", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
