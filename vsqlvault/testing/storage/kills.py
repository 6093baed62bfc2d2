"""SIGKILL: what was acknowledged is there, and no batch is half there.

Run as a program it is the process that is killed: it commits batch after batch and says which.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.interfaces.storage import LogQuery, Read, Storage
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing.driving import StorageKit, committed, driven
from vsqlvault.testing.samples import storing

BATCH = 10
MAX_ROWS = 1_000_000


class KillConformance(StorageKit):
    """A process that is killed while it commits."""

    @pytest.mark.parametrize("batches", [1, 15])
    @driven
    async def test_what_was_acknowledged_is_there_after_a_kill_and_batches_are_whole(self, batches: int) -> None:
        self.needs("durable", "survives_kill")
        last = await asyncio.to_thread(self._kill_after, batches)
        async with self.another() as storage:
            whole = [await _count(storage, batch) for batch in range(last + 3)]
            assert whole[: last + 1] == [BATCH] * (last + 1)
            assert set(whole) <= {0, BATCH}
            assert len(await storage.access_log(LogQuery(limit=MAX_ROWS))) == sum(whole)
            await committed(storage, storing("afterwards"))

    def _kill_after(self, batches: int) -> int:
        """Kill a process that commits, and return the number of the last batch that it had acknowledged."""
        place = [type(self).__module__, type(self).__qualname__, str(self.directory)]
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", __name__, *place],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            with process:
                assert process.stdout is not None
                acknowledged = [line for _ in range(batches + 1) if (line := process.stdout.readline())]
                process.send_signal(signal.SIGKILL)
                # The same reader to the end: it has read ahead, and communicate() would leave out what it holds.
                acknowledged += process.stdout.read().splitlines(keepends=True)
            errors.seek(0)
            assert len(acknowledged) > batches, f"open_storage does not work in a process of its own:\n{errors.read()}"
        return int([line for line in acknowledged if line.endswith("\n")][-1])


async def _count(storage: Storage, batch: int) -> int:
    found = await storage.read([Read(EntryKey("card", f"b{batch}-{n}"), with_value=True) for n in range(BATCH)])
    return sum(snapshot.entry is not None and snapshot.value == b"%d" % batch for snapshot in found)


async def _commit_for_ever(module: str, name: str, directory: str) -> None:
    kit: Any = reduce(getattr, name.split("."), import_module(module))
    storage = await kit().open_storage(Path(directory))
    batch = 0
    while True:
        await committed(storage, *(storing(f"b{batch}-{n}", b"%d" % batch) for n in range(BATCH)))
        sys.stdout.write(f"{batch}\n")
        sys.stdout.flush()
        batch += 1


if __name__ == "__main__":
    asyncio.run(_commit_for_ever(*sys.argv[1:]))
