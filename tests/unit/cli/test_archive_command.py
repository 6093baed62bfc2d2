"""``vsql-vault archive-audit``: what it writes, records and refuses, and that a changed archive does not verify."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.archived_vault import BUNDLE, KEY, TAMPERS, inside, installed
from vsqlvault import cli
from vsqlvault.errors import TreeDamaged
from vsqlvault.interfaces.tree_storage import LeafRow
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.transparency import LogName, TileKey
from vsqlvault.service.log.archive import archiver
from vsqlvault.service.log.archive.archiver import LogArchiver
from vsqlvault.service.log.archive.files import ArchiveFiles, ArchiveUnusable
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_purge_record, an_access_record, an_entry
from vsqlvault_plugins.storage.sqlite import transactions
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage


async def _grow(vault: Vault, rows: int, start: int = 0) -> None:
    """Commit and sign rows of both logs."""
    for first in range(start, start + rows, 100):
        records = tuple(an_access_record(request_id=f"r-{number}") for number in range(first, first + 99))
        await vault.queue.commit(Write(records, purges=(a_purge_record(an_entry(f"gone-{first}")),)))
    await vault.log.sequencer.sequence()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a stopped vault of 600 rows, its settings, its key, and an archive."""
    directory = tmp_path_factory.mktemp("made")
    installed(directory)
    inside(directory, lambda vault: _grow(vault, 600))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        assert cli.main(["archive-audit", "--config", "vsql-vault.toml", "--out", "archive"]) == 0
    return directory


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the vault and of its archive."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _archive(*arguments: str) -> int:
    return cli.main(["archive-audit", "--config", "vsql-vault.toml", *arguments])


def _check() -> int:
    return cli.main(["archive-audit", "--check", "archive", "--vkey", str(KEY.verifier)])


def test_an_archive_has_the_files_of_a_log_that_any_file_server_can_serve(made: Path) -> None:
    found = {str(path.relative_to(made / "archive")) for path in (made / "archive").rglob("*") if path.is_file()}
    assert {"checkpoint", "archives/000001.json", "tile/0/000", "tile/0/001", BUNDLE, "tile/entries/001"} <= found
    assert "tile/entries/002" not in found


def test_only_the_owner_reads_what_was_created(place: Path) -> None:
    (place / "fresh").mkdir(mode=0o755)
    umask = os.umask(0)
    try:
        inside(place, lambda vault: _grow(vault, 300, start=600))
        assert _archive("--out", "fresh") == 0
    finally:
        os.umask(umask)
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (place / "fresh").rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_every_file_is_synced_before_the_manifest(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside(place, lambda vault: _grow(vault, 300, start=600))
    synced: list[int] = []
    usual = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        usual(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    (place / "fresh").mkdir()
    assert _archive("--out", "fresh") == 0
    files = {path.stat().st_ino for path in (place / "fresh").rglob("*") if path.is_file()}
    manifest = (place / "fresh/archives/000002.json").stat().st_ino
    assert files <= set(synced[: synced.index(manifest) + 1])


def test_rows_are_hashed_and_files_written_and_read_at_the_lowest_priority(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: set[int] = set()
    write, read = ArchiveFiles.write_bundles, ArchiveFiles.bundle

    def noted(kept: Any) -> Any:
        def method(*arguments: Any) -> Any:
            found.add(os.sched_getscheduler(0))
            return kept(*arguments)

        return method

    monkeypatch.setattr(ArchiveFiles, "write_bundles", noted(write))
    monkeypatch.setattr(ArchiveFiles, "bundle", noted(read))
    monkeypatch.setattr(archiver, "row_leaf", noted(archiver.row_leaf))
    inside(place, lambda vault: _grow(vault, 300, start=600))
    assert _archive("--out", "archive") == 0
    assert found == {os.SCHED_IDLE}


def test_the_commit_that_records_an_archive_has_the_usual_priority(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.sched_getscheduler(0)
    found: dict[str, set[int]] = {"loop": set(), "connection": set()}
    commit, commit_batch = SqliteStorage.commit, transactions.commit_batch

    def noted(thread: str, kept: Any) -> Any:
        def function(*arguments: Any) -> Any:
            found[thread].add(os.sched_getscheduler(0))
            return kept(*arguments)

        return function

    inside(place, lambda vault: _grow(vault, 300, start=600))
    monkeypatch.setattr(SqliteStorage, "commit", noted("loop", commit))
    monkeypatch.setattr(transactions, "commit_batch", noted("connection", commit_batch))
    assert _archive("--out", "archive") == 0
    assert found == {"loop": {usual}, "connection": {usual}}


def test_a_tile_that_an_earlier_archive_has_is_not_written_again(tmp_path: Path) -> None:
    files, tile = ArchiveFiles(tmp_path), {TileKey(1, 0): bytes(range(256)) * 32}
    files.write_tiles(tile, 2 * 256 * 256)
    path = tmp_path / "tile/1/000"
    os.utime(path, (1, 1))
    files.write_tiles(tile, 3 * 256 * 256)
    files.sync()
    assert (path.read_bytes(), path.stat().st_mtime) == (tile[TileKey(1, 0)], 1)


def test_a_shorter_or_longer_file_of_an_interrupted_run_is_written_again(tmp_path: Path) -> None:
    tile = {TileKey(1, 0): bytes(range(256)) * 32}
    for left in (b"", tile[TileKey(1, 0)][:100], tile[TileKey(1, 0)] + b"more"):
        files = ArchiveFiles(tmp_path)
        files.write_tiles(tile, 2 * 256 * 256)
        files.sync()
        (tmp_path / "tile/1/000").write_bytes(left)
        files.write_tiles(tile, 2 * 256 * 256)
        files.sync()
        assert (tmp_path / "tile/1/000").read_bytes() == tile[TileKey(1, 0)]


def test_an_archive_verifies_without_the_vault(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "vault.db").unlink()
    assert _check() == 0
    assert capsys.readouterr().out == "archive 1: verifies\n"


def test_a_row_and_a_record_say_what_was_archived(place: Path) -> None:
    archives: list[LogArchive] = list(inside(place, lambda vault: vault.storage.archives()))
    rows: list[LeafRow] = list(inside(place, _of_archive))
    assert [(one.number, one.first, one.end) for one in archives] == [(1, 0, 512)]
    document = json.loads(archives[0].document)
    assert document["manifest_sha256"] == ArchiveFiles(place / "archive").manifest(1).sha256  # type: ignore[union-attr]
    assert [getattr(row.record, "new_value", "") for row in rows] == [archives[0].document]


async def _of_archive(vault: Vault) -> list[LeafRow]:
    await vault.log.sequencer.sequence()
    rows = await vault.storage.leaf_rows(0, 10_000)
    return [row for row in rows if getattr(row.record, "operation", "") == Operation.ARCHIVE_LOG]


def test_the_vault_verifies_after_an_archive(place: Path) -> None:
    inside(place, lambda vault: vault.log.sequencer.sequence())
    assert cli.main(["verify", "--config", "vsql-vault.toml"]) == 0


def test_verify_names_the_first_archived_row_that_went_without_a_recorded_drop(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def drop(vault: Vault) -> int:
        await vault.storage.drop_archived(LogName.ACCESS, 0, 10)
        return await vault.storage.tree_size()

    size = inside(place, drop)
    left = [row.index for row in inside(place, lambda vault: vault.storage.leaf_rows(0, size))]
    assert set(range(10)).isdisjoint(left)
    capsys.readouterr()
    assert cli.main(["verify", "--config", "vsql-vault.toml", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    what = "10 rows are missing, and no signed leaf records archive 1"
    assert [(each["index"], each["what"]) for each in found] == [(0, what)]


def test_the_next_archive_begins_where_the_last_one_ended(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _archive("--out", "archive") == 0
    assert "nothing to archive" in capsys.readouterr().out
    inside(place, lambda vault: _grow(vault, 300, start=600))
    assert _archive("--out", "archive", "--json") == 0
    made = json.loads(capsys.readouterr().out)["archive"]
    assert (made["number"], made["first"], made["end"]) == (2, 512, 768)
    assert _check() == 0


def test_rows_signed_after_the_given_time_are_not_archived(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside(place, lambda vault: _grow(vault, 300, start=600))
    assert _archive("--out", "archive", "--before", "2020-01-01T00:00:00Z") == 0
    assert "nothing to archive" in capsys.readouterr().out


def test_rows_signed_before_the_given_time_are_archived(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for start in (600, 900):
        inside(place, lambda vault, start=start: _grow(vault, 300, start=start))
    newest = inside(place, lambda vault: vault.storage.newest_checkpoint())
    assert _archive("--out", "archive", "--before", newest.signed_at.isoformat(), "--json") == 0
    made = json.loads(capsys.readouterr().out)["archive"]
    assert (made["first"], made["end"]) == (512, 768)


def test_a_directory_that_does_not_exist_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside(place, lambda vault: _grow(vault, 300, start=600))
    assert _archive("--out", "nowhere") == 2
    assert "expected a directory that exists" in capsys.readouterr().err


class _Cut(Exception):
    """The process ends here."""


class _CutArchiver(LogArchiver):
    """An archiver that ends before one of its steps."""

    def __init__(self, vault: Vault, step: str) -> None:
        super().__init__(vault.storage, vault.queue, [KEY.verifier])

        async def cut(*_: object) -> None:
            raise _Cut

        setattr(self, step, cut)


@pytest.mark.parametrize("step", ["_export", "_tiles", "_verify", "_record"])
def test_a_run_that_is_cut_leaves_no_record_and_is_repeated(place: Path, step: str) -> None:
    async def cut(vault: Vault) -> None:
        await _grow(vault, 300, start=600)
        with pytest.raises(_Cut):
            await _CutArchiver(vault, step).archive(a_call(), place / "archive", None, lambda *_: None)
        assert len(await vault.storage.archives()) == 1

    inside(place, cut)
    assert cli.main(["verify", "--config", "vsql-vault.toml", "--archive", "archive"]) == 0
    assert _archive("--out", "archive") == 0
    assert [one.end for one in inside(place, lambda vault: vault.storage.archives())] == [512, 768]
    assert _check() == 0


def test_what_does_not_verify_when_it_is_read_back_is_not_recorded(place: Path) -> None:
    class Damaging(LogArchiver):
        async def _export(self, wanted: Any, files: ArchiveFiles, progress: Any) -> None:
            await super()._export(wanted, files, progress)
            path = files.directory / "tile/entries/002"
            path.write_bytes(path.read_bytes()[:-1] + b" ")

    async def archive(vault: Vault) -> int:
        await _grow(vault, 300, start=600)
        archiver = Damaging(vault.storage, vault.queue, [KEY.verifier])
        with pytest.raises(ArchiveUnusable, match="does not verify and is not recorded"):
            await archiver.archive(a_call(), place / "archive", None, lambda *_: None)
        return len(await vault.storage.archives())

    assert inside(place, archive) == 1


def test_a_row_that_is_not_as_it_was_signed_is_not_archived(place: Path) -> None:
    async def archive(vault: Vault) -> None:
        await _grow(vault, 300, start=600)
        usual = vault.storage.leaf_rows

        async def without_one(first: int, count: int) -> list[LeafRow]:
            return [row for row in await usual(first, count) if row.index != 600]

        vault.storage.leaf_rows = without_one  # type: ignore[method-assign]
        archiver = LogArchiver(vault.storage, vault.queue, [KEY.verifier])
        with pytest.raises(TreeDamaged, match="leaf 600 is not as it was signed"):
            await archiver.archive(a_call(), place / "archive", None, lambda *_: None)
        assert len(await vault.storage.archives()) == 1

    inside(place, archive)


@pytest.mark.parametrize("what", TAMPERS)
def test_a_changed_archive_does_not_verify(place: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    TAMPERS[what](place / "archive")
    assert _check() == 1
    assert "archive 1: DOES NOT VERIFY" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"format": "vsqlvault-log-archive-v1"}', b"[" * 5_000])
def test_a_file_that_is_no_manifest_is_named(place: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "archive/archives/000001.json").write_bytes(content)
    assert _check() in {1, 2}
    captured = capsys.readouterr()
    assert "manifest" in captured.err + captured.out
