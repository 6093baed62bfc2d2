"""A storage whose disk is full: entries are refused, reading and purging go on, and it recovers by itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.server import ADMIN, VaultServer, eventually
from vsqlvault.errors import StorageFull
from vsqlvault.interfaces.writes import Committed, Write, WriteOutcome
from vsqlvault.testing import a_write, storing
from vsqlvault_plugins.storage.full_disk import FullDisk
from vsqlvault_plugins.storage.sqlite.reserve import RESERVE_SUFFIX, Reserve
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

DISK_BYTES = 40 * 1024 * 1024


class Disk:
    """A commit function of a disk that is full for writes that store an entry."""

    def __init__(self) -> None:
        self.is_full = True
        self.batches: list[int] = []

    async def __call__(self, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
        self.batches.append(len(writes))
        if self.is_full and any(write.changes for write in writes):
            raise StorageFull
        return [Committed()] * len(writes)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", directory], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no right to mount a small disk")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def fill(path: Path) -> None:
    """Write zeros until the disk has no room."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))


def test_a_full_disk_refuses_only_what_stores_an_entry() -> None:
    disk = FullDisk(lambda: 0.0)
    outcomes = asyncio.run(disk.commit([a_write(), storing("full-1"), a_write()], Disk()))
    assert [type(outcome) for outcome in outcomes] == [Committed, StorageFull, Committed]
    assert disk.is_full


def test_a_full_disk_is_tried_again_after_a_second() -> None:
    now = [0.0]
    disk, commit = FullDisk(lambda: now[0]), Disk()
    asyncio.run(disk.commit([storing("full-1")], commit))
    asyncio.run(disk.commit([storing("full-1")], commit))
    assert commit.batches == [1]
    commit.is_full, now[0] = False, 1.0
    assert asyncio.run(disk.commit([storing("full-1")], commit)) == [Committed()]
    assert not disk.is_full


def test_the_reserve_is_given_back_when_the_disk_is_full(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "vault.db", 4096)
    file = tmp_path / f"vault.db{RESERVE_SUFFIX}"
    assert reserve.refill()
    assert file.stat().st_size == 4096
    reserve.release()
    assert not file.exists()
    assert reserve.is_full


def test_the_reserve_returns_once_there_is_room(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "vault.db", 4096)
    reserve.release()
    assert reserve.refill()
    assert not reserve.is_full


def test_the_reserve_waits_for_twice_its_size(small_disk: Path) -> None:
    reserve = Reserve(small_disk / "vault.db", DISK_BYTES // 2 + 4096)
    reserve.release()
    assert not reserve.refill()
    assert reserve.is_full


def test_reading_and_purging_go_on_while_the_disk_is_full(small_disk: Path) -> None:
    async def run() -> None:
        storage = await SqliteStorage.open(
            small_disk / "vault.db",
            reserve=Reserve(small_disk / "vault.db", refill_seconds=0.01),
            reserve_after_seconds=0,
        )
        await storage.migrate()
        assert await asyncio.to_thread(eventually, (small_disk / f"vault.db{RESERVE_SUFFIX}").exists)
        number = 0
        while await storage.commit([storing(f"full-{number}", bytes(500_000))]) == [Committed()]:
            number += 1
        assert storage.describe()["full"] is True
        for _ in range(200):
            assert await storage.commit([a_write()]) == [Committed()]
        await storage.close()

    asyncio.run(run())


def test_a_served_vault_on_a_full_disk_reads_purges_and_recovers(small_disk: Path, tmp_path: Path) -> None:
    vault = VaultServer(tmp_path, database_url=f"sqlite:///{small_disk / 'vault.db'}").start()
    filler = small_disk / "filler"
    try:
        policy = {"max_retention_days": 30, "purge_method": "physical-delete"}
        vault.call(ADMIN, "PUT", "/admin/retention-policies/card", json_body=policy)
        for name in ("disk-a", "disk-b"):
            vault.call("payments", "PUT", f"/vault/card/{name}", json_body={"encrypted_value": "v"})
        eventually((small_disk / f"vault.db{RESERVE_SUFFIX}").exists, 60)
        fill(filler)
        large = {"encrypted_value": "v" * 400_000}
        refused = vault.call("payments", "PUT", "/vault/card/disk-c", json_body=large)
        assert (refused.status, refused.json["type"]) == (507, "urn:vsqlvault:problem:storage-full")
        assert vault.call("payments", "GET", "/vault/card/disk-a").status == 200
        assert vault.call("payments", "DELETE", "/vault/card/disk-b").status == 200
        assert vault.call(ADMIN, "POST", "/admin/purge/sweep").status == 200
        assert vault.call(None, "GET", "/health").json == {"status": "full"}
        controls = vault.call("auditor", "GET", "/health/controls").json["controls"]
        assert {"storage_has_room": "failing"}.items() <= {one["name"]: one["state"] for one in controls}.items()
        filler.unlink()
        eventually(lambda: vault.call(None, "GET", "/health").json == {"status": "ok"}, 60)
        assert vault.call("payments", "PUT", "/vault/card/disk-c", json_body=large).status == 201
        assert (small_disk / f"vault.db{RESERVE_SUFFIX}").exists()
    finally:
        vault.stop()
