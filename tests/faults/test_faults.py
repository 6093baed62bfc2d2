"""Power cuts, kills and failed calls: nothing acknowledged is lost, and nothing is there by halves (short form)."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from tests.faults.campaign import build_shim, cut, failed, killed, recorded
from tests.faults.disk import Disk, Record
from tests.faults.postgres_cuts import RecordedServer

CUTS = 100
POSTGRESQL_CUTS = 4
KILLS = 10


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = build_shim(tmp_path_factory.mktemp("shim"))
    if library is None:
        pytest.skip("no C compiler: the library that records writes cannot be built")
    return library


def test_nothing_acknowledged_is_lost_by_a_power_cut(tmp_path: Path, shim: Path) -> None:
    records = recorded(tmp_path, shim, 1, 100)
    assert sum(record.operation == "E" for record in records) > 20
    assert cut(records, tmp_path, 1, CUTS) == []


def test_a_power_cut_shows_that_a_sync_was_skipped(tmp_path: Path, shim: Path) -> None:
    records = recorded(tmp_path, shim, 2, 60)
    unsynced = [each for each in records if not (each.name == "vault.db-wal" and each.operation in "BE")]
    assert cut(unsynced, tmp_path, 2, 20) != []


def test_nothing_acknowledged_is_lost_by_a_power_cut_of_postgresql(tmp_path: Path, shim: Path) -> None:
    with RecordedServer(tmp_path, shim) as server:
        records = server.recorded(5, 60)
        assert sum(record.operation == "E" and "/pg_wal/" in record.name for record in records) > 10
        assert server.cut(records, 5, POSTGRESQL_CUTS) == []
        unsynced = [each for each in records if not ("/pg_wal/" in each.name and each.operation in "BE")]
        assert server.cut(unsynced, 5, POSTGRESQL_CUTS) != []  # the images show that a sync was skipped


def test_nothing_acknowledged_is_lost_by_a_kill_on_sqlite(tmp_path: Path) -> None:
    assert killed(f"sqlite:///{tmp_path / 'vault.db'}", tmp_path, 3, KILLS) == []


def test_nothing_acknowledged_is_lost_by_a_kill_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    assert killed(postgres_url, tmp_path, 4, KILLS) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("once", [False, True])
def test_a_call_that_fails_makes_no_answer_untrue(tmp_path: Path, shim: Path, code: int, once: bool) -> None:
    assert failed(tmp_path, shim, 700, code, once=once) == []


def test_an_image_keeps_what_was_synced() -> None:
    disk = Disk()
    for operation, name in (("W", "f"), ("B", "f"), ("E", "f"), ("B", "."), ("E", ".")):
        disk.apply(Record(operation, name, 0, b"synced" if operation == "W" else b""))
    assert all(disk.image(random.Random(seed)) == {"f": b"synced"} for seed in range(20))


def test_an_image_changes_the_files_of_its_base(tmp_path: Path) -> None:
    for name in ("kept", "removed", "renamed"):
        (tmp_path / name).write_bytes(b"before")
    disk = Disk(tmp_path, keeps_names=True)
    for record in (
        Record("W", "kept", 4, b"r it"), Record("B", "kept", 0, b""), Record("E", "kept", 0, b""),
        Record("U", "removed", 0, b""), Record("R", "renamed", 0, b"new"),
    ):  # fmt: skip
        disk.apply(record)
    assert disk.image(random.Random(1)) == {"kept": b"befor it", "new": b"before"}
    assert disk.gone == {"removed", "renamed"}


def test_an_image_may_lack_what_was_not_synced() -> None:
    disk = Disk()
    for record in (Record("B", ".", 0, b""), Record("W", "f", 0, bytes(600)), Record("B", "f", 0, b"")):
        disk.apply(record)
    sizes = {len(disk.image(random.Random(seed)).get("f", b"-")) for seed in range(50)}
    assert {0, 1, 600} <= sizes
