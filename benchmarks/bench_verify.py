"""Whole verification with replay of a large vault: time and peak memory of ``vsql-vault verify`` in a process of its own.

    python benchmarks/bench_verify.py --rows 1000000 [--entries 200000] [--value-bytes 256]

The generator writes rows of stores and retrievals straight to a SQLite storage, and lets the sequencer sign them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from vsqlvault.config import load_settings
from vsqlvault.interfaces.writes import StoreEntry, Write
from vsqlvault.model.audit import Operation
from vsqlvault.proof.entry_statement import state_entry
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import open_vault
from vsqlvault.testing import T0, an_access_record, an_entry

KEY = SigningKey("bench.example/audit", b"\x09" * 32)
WRITES_AT_ONCE = 5_000


def variables(directory: Path) -> dict[str, str]:
    """Return the settings of the vault as variables."""
    return {
        "VSQL_VAULT_STORAGE__DATABASE_URL": f"sqlite:///{directory / 'vault.db'}",
        "VSQL_VAULT_AUDIT__SIGNING_KEY_FILE": str(directory / "signing.key"),
    }


def a_write(number: int, entries: int, value: bytes) -> Write:
    """Return the write of one row: the first ``entries`` rows store an entry, the others retrieve one."""
    entry_number = number % entries
    entry = an_entry(
        f"e{entry_number:08}",
        value,
        entry_id=f"{entry_number:032x}",
        value_sha256=hashlib.sha256(value).hexdigest(),
        value_size=len(value),
    )
    is_store = number < entries
    row = an_access_record(
        at=T0 + timedelta(milliseconds=number),
        request_id=f"{number:032x}",
        operation=Operation.STORE if is_store else Operation.RETRIEVE,
        purpose="card",
        external_id=entry.external_id,
        stamp=entry.stamp,
        app=entry.owner_app,
        detail=f"retention card v1, {state_entry(entry)}" if is_store else None,
    )
    return Write((row,), changes=(StoreEntry(entry, value),) if is_store else ())


async def generate(directory: Path, rows: int, entries: int, value: bytes) -> None:
    """Write the rows, and sequence them."""
    (directory / "signing.key").write_text(KEY.reveal(), "utf-8")
    (directory / "signing.key").chmod(0o600)
    async with open_vault(load_settings(None, variables(directory))) as vault:
        for first in range(0, rows, WRITES_AT_ONCE):
            numbers = range(first, min(first + WRITES_AT_ONCE, rows))
            writes = [a_write(number, entries, value) for number in numbers]
            stores = [write for write in writes if write.changes]
            rows_alone = tuple(row for write in writes if not write.changes for row in write.access)
            await vault.storage.commit([*stores, Write(rows_alone)] if rows_alone else stores)
        while await vault.storage.unsequenced(1):
            await vault.log.sequencer.sequence()


def verify(directory: Path, *options: str) -> tuple[float, float, float, str]:
    """Return seconds, processor seconds, peak memory in MB and the output of a verification."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "vsqlvault", "verify", *options],
        env={**os.environ, **variables(directory)},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"verify ended with {done.returncode}: {done.stdout}{done.stderr}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return seconds, processor, used.ru_maxrss / 1024, done.stdout


def main() -> None:
    """Generate, verify and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--value-bytes", type=int, default=256)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        began = time.monotonic()
        asyncio.run(generate(directory, chosen.rows, chosen.entries, b"v" * chosen.value_bytes))
        print(f"generated {chosen.rows} rows in {time.monotonic() - began:.1f} s", flush=True)
        for options in (("--without-values",), ()):
            seconds, processor, peak, output = verify(directory, *options)
            print(
                f"verify {' '.join(options)}: {seconds:.1f} s, {processor:.1f} s of processor, {peak:.0f} MB",
                flush=True,
            )
            print(output, flush=True)


if __name__ == "__main__":
    main()
