"""Runs the workload under faults, and counts what was violated."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.faults.disk import Disk, Record, records_in
from tests.faults.invariants import Acknowledged, violations
from tests.support.warm_start import ForkedProcess, start_vault

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("record_writes.c")
START_SECONDS = 60.0


def build_shim(directory: Path) -> Path | None:
    """Build the library. Return None where there is no C compiler, or the system is another one."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = directory / "record_writes.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


@contextmanager
def workload(
    url: str, directory: Path, seed: int, environment: Mapping[str, str]
) -> Iterator[ForkedProcess | subprocess.Popen[bytes]]:
    """Run the workload, and kill it at the end of the block."""
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", "tests.faults.workload", url, str(directory), str(seed)]
        process = start_vault(command, errors, ROOT, {**os.environ, **environment})
        try:
            _await_first(process, directory)
            yield process
        finally:
            process.kill()
            process.wait()


def _await_first(process: ForkedProcess | subprocess.Popen[bytes], directory: Path) -> None:
    acks, deadline = directory / "acks", time.monotonic() + START_SECONDS
    before = acks.stat().st_size if acks.exists() else 0
    while process.poll() is None and (not acks.exists() or b'"ok"' not in acks.read_bytes()[before:]):
        if time.monotonic() > deadline:
            raise AssertionError("the workload did not start")
        time.sleep(0.01)


def recorded(directory: Path, shim: Path, seed: int, acknowledgements: int) -> list[Record]:
    """Run the workload on SQLite until it has acknowledged this many changes, and return what it did to its files."""
    place = directory / f"run-{seed}"
    place.mkdir()
    record = directory / f"run-{seed}.record"
    variables = {"LD_PRELOAD": str(shim), "FAULT_DIRECTORY": str(place), "FAULT_RECORD": str(record)}
    with workload(f"sqlite:///{place / 'vault.db'}", place, seed, variables) as process:
        while process.poll() is None and (place / "acks").read_bytes().count(b'"ok"') < acknowledgements:
            time.sleep(0.01)
    return list(records_in(record))


def cut(records: list[Record], directory: Path, seed: int, cuts: int) -> list[str]:
    """Cut the power ``cuts`` times within the records, and return the violations."""
    chance, disk, at, found = random.Random(seed), Disk(), 0, []
    for number, moment in enumerate(sorted(chance.randint(0, len(records)) for _ in range(cuts))):
        while at < moment:
            disk.apply(records[at])
            at += 1
        place = directory / f"image-{number}"
        place.mkdir()
        for name, content in disk.image(chance).items():
            if not name.endswith(("-shm", "-reserve", "-lock")):
                (place / name).write_bytes(content)
                (place / name).chmod(0o600)
        said = Acknowledged.parse(bytes(disk.said))
        url = f"sqlite:///{place / 'vault.db'}"
        found += [f"seed {seed}, record {moment}: {each}" for each in asyncio.run(violations(url, place, said))]
        shutil.rmtree(place)
    return found


def killed(url: str, directory: Path, seed: int, kills: int) -> list[str]:
    """Kill the workload ``kills`` times on one storage, and return the violations after each."""
    chance, found = random.Random(seed), []
    for number in range(kills):
        with workload(url, directory, seed * 1000 + number, {}) as process:
            timer = threading.Timer(chance.uniform(0.0, 0.2), process.kill)
            timer.start()
            process.wait()
        said = Acknowledged.parse((directory / "acks").read_bytes())
        found += [f"seed {seed}, kill {number}: {each}" for each in asyncio.run(violations(url, directory, said))]
    return found


def failed(directory: Path, shim: Path, number: int, errno: int, *, once: bool) -> list[str]:
    """Let the ``number``-th call on the database fail, end the process soon after, and return the violations."""
    place = directory / f"fail-{number}-{errno}-{once}"
    place.mkdir()
    record = directory / f"{place.name}.record"
    url = f"sqlite:///{place / 'vault.db'}"
    variables = {"LD_PRELOAD": str(shim), "FAULT_DIRECTORY": str(place), "FAULT_RECORD": str(record)}
    variables |= {"FAULT_CALL": str(number), "FAULT_ERRNO": str(errno)} | ({"FAULT_ONCE": "1"} if once else {})
    with workload(url, place, number, variables) as process:
        timer = threading.Timer(1.5, process.kill)
        timer.start()
        process.wait()
        timer.cancel()
    said = Acknowledged.parse((place / "acks").read_bytes())
    found = asyncio.run(violations(url, place, said))
    if not any(each.operation == "F" for each in records_in(record)):
        found.append("the call was not reached")
    shutil.rmtree(place)
    record.unlink()
    return [f"call {number}, errno {errno}, once {once}: {each}" for each in found]
