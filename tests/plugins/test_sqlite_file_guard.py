"""The database file of SQLite: failed syncs, a removed or replaced file, and the lock against the WAL-reset bug."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vsqlvault.errors import StorageUnavailable
from vsqlvault.testing import a_write
from vsqlvault_plugins.storage.sqlite.file_guard import LOCK_SUFFIX, FileGuard, StorageBusy, has_wal_reset_bug
from vsqlvault_plugins.storage.sqlite.reserve import Reserve
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

SHIM = Path(__file__).parents[1] / "faults" / "failing_fsync.c"
SCRIPT = """
import asyncio, json, os, sys
from pathlib import Path
from vsqlvault.testing import a_write
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage
from vsqlvault_plugins.storage.sqlite.transactions import checkpoint_log

async def kind(work):
    try:
        await work
    except Exception as error:
        return type(error).__name__
    return "done"

async def main(path, fault):
    called, switch = [], Path(os.environ["FAULT_SWITCH"])
    storage = await SqliteStorage.open(path, on_io_error=lambda: called.append(1))
    await storage.migrate()
    await asyncio.sleep(1.5)  # the truncation that follows a migration is over
    said = {"before": await kind(storage.commit([a_write()]))}
    switch.touch()
    said["faulty"] = await kind(storage._writer.run(checkpoint_log) if fault == "checkpoint" else storage.commit([a_write()]))
    switch.unlink()
    said["after"] = await kind(storage.commit([a_write()]))
    said["read"] = await kind(storage.tree_size())
    said |= {"called": len(called), "durable": storage.describe()["durable"]}
    await storage.close()
    said["log_bytes"] = Path(f"{path}-wal").stat().st_size
    print(json.dumps(said), flush=True)
    os._exit(0)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""
Faulty = Callable[[str, str], dict[str, object]]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler: the library that makes fsync fail cannot be built")
    library = tmp_path_factory.mktemp("shim") / "failing_fsync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl"], check=True)
    return library


@pytest.fixture
def faulty(shim: Path, tmp_path: Path) -> Faulty:
    def run(suffix: str, fault: str) -> dict[str, object]:
        environment = {"LD_PRELOAD": str(shim), "FAULT_SUFFIX": suffix, "FAULT_SWITCH": str(tmp_path / "switch")}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "vault.db"), fault],
            env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    return run


def rows_in(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute("SELECT count(*) FROM access_log").fetchone()
    connection.close()
    return int(found)


def test_a_commit_whose_log_cannot_be_synced_has_an_unknown_outcome(faulty: Faulty) -> None:
    found = faulty("-wal", "commit")
    assert (found["before"], found["faulty"]) == ("done", "OutcomeUnknown")


def test_nothing_is_acknowledged_after_a_commit_with_an_io_error(faulty: Faulty) -> None:
    found = faulty("-wal", "commit")
    assert (found["after"], found["read"]) == ("StorageUnavailable", "StorageUnavailable")
    assert (found["called"], found["durable"]) == (1, False)


def test_nothing_is_acknowledged_after_a_checkpoint_with_an_io_error(faulty: Faulty) -> None:
    found = faulty("vault.db", "checkpoint")
    assert found["faulty"] == "StorageUnavailable"
    assert (found["after"], found["called"], found["durable"]) == ("StorageUnavailable", 1, False)


def test_a_failed_checkpoint_leaves_the_log_to_recovery(faulty: Faulty, tmp_path: Path) -> None:
    found = faulty("vault.db", "checkpoint")
    assert found["log_bytes"]
    assert rows_in(tmp_path / "vault.db") == 1


def test_sqlite_runs_no_checkpoint_whose_error_it_would_ignore(tmp_path: Path) -> None:
    async def autocheckpoint() -> int:
        storage = await SqliteStorage.open(tmp_path / "vault.db")
        try:
            return await storage._writer.run(
                lambda connection: connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0]
            )
        finally:
            await storage.close()

    assert asyncio.run(autocheckpoint()) == 0


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_commit_into_a_file_that_is_gone_is_refused(tmp_path: Path, suffix: str, is_replaced: bool) -> None:
    async def run() -> bool:
        storage = await SqliteStorage.open(tmp_path / "vault.db")
        await storage.migrate()
        await storage.commit([a_write()])
        lost = tmp_path / f"vault.db{suffix}"
        if is_replaced:
            (tmp_path / "other").write_bytes(lost.read_bytes())
            (tmp_path / "other").rename(lost)
        else:
            lost.unlink()
        with pytest.raises(StorageUnavailable, match="removed or replaced"):
            await storage.commit([a_write()])
        with pytest.raises(StorageUnavailable):
            await storage.tree_size()
        durable = storage.describe()["durable"]
        await storage.close()
        return bool(durable)

    assert asyncio.run(run()) is False


async def committed_before(lost: Callable[[Path], object], directory: Path) -> None:
    """Store through a symbolic link, change the files, and store once more."""
    (directory / "data").mkdir()
    (directory / "vault.db").symlink_to("data/vault.db")
    storage = await SqliteStorage.open(directory / "vault.db")
    try:
        await storage.migrate()
        await storage.commit([a_write()])
        lost(directory)
        await storage.commit([a_write()])
    finally:
        await storage.close()


def another_target(directory: Path) -> None:
    """Lead the symbolic link to a copy."""
    shutil.copytree(directory / "data", directory / "other")
    (directory / "vault.db").unlink()
    (directory / "vault.db").symlink_to("other/vault.db")


@pytest.mark.parametrize("lost", [lambda directory: (directory / "data/vault.db-wal").unlink(), another_target])
def test_a_commit_through_a_symbolic_link_into_a_file_that_is_gone_is_refused(
    tmp_path: Path, lost: Callable[[Path], object]
) -> None:
    with pytest.raises(StorageUnavailable, match="removed or replaced"):
        asyncio.run(committed_before(lost, tmp_path))


def test_the_lock_and_the_reserve_are_beside_the_file_to_which_a_symbolic_link_leads(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    (tmp_path / "data").mkdir()
    path.symlink_to("data/vault.db")
    FileGuard(path, lambda: None, locks=True).close()
    assert Reserve(path, size=4096).refill()
    assert {each.name for each in tmp_path.iterdir()} == {"data", "vault.db"}
    assert {each.name for each in (tmp_path / "data").iterdir()} == {"vault.db-lock", "vault.db-reserve"}


@pytest.mark.parametrize(
    ("version", "has_bug"),
    [
        ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False), ((3, 45, 0), True), ((3, 50, 6), True),
        ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 52, 0), False), ((4, 0, 0), False),
    ],
)  # fmt: skip
def test_the_wal_reset_bug_is_known_by_version(version: tuple[int, int, int], has_bug: bool) -> None:
    assert has_wal_reset_bug(version) is has_bug


def test_a_write_waits_for_the_lock_of_another_process_and_then_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    path.touch()
    guard = FileGuard(path, lambda: None, locks=True, lock_seconds=0.05)
    other = os.open(tmp_path / f"vault.db{LOCK_SUFFIX}", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(StorageBusy):
        guard.write(lambda connection: 1, sqlite3.Connection(":memory:"))
    fcntl.flock(other, fcntl.LOCK_UN)
    assert guard.write(lambda connection: 1, sqlite3.Connection(":memory:")) == 1
    os.close(other)
    guard.close()


def test_the_lock_is_free_again_after_a_write(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    path.touch()
    guard = FileGuard(path, lambda: None, locks=True)
    guard.write(lambda connection: 1, sqlite3.Connection(":memory:"))
    other = os.open(tmp_path / f"vault.db{LOCK_SUFFIX}", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    guard.close()
