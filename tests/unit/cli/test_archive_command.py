"""``vsql-vault archive-audit``: what it writes, records and refuses, and that a changed archive does not verify."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vsqlvault import cli
from vsqlvault.config import load_settings
from vsqlvault.errors import TreeDamaged
from vsqlvault.interfaces.tree_storage import LeafRow
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.transparency import LogName
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import open_vault
from vsqlvault.service.log.archive_files import ArchiveFiles, ArchiveUnusable
from vsqlvault.service.log.archiver import LogArchiver
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_purge_record, an_access_record, an_entry

KEY, STRANGER = (SigningKey("vault.example/archive", bytes([number]) * 32) for number in (1, 2))
BUNDLE = "tile/entries/000"
SETTINGS = '[storage]\ndatabase_url = "sqlite:///vault.db"\n[audit]\nsigning_key_file = "signing.key"\n'


async def _grow(vault: Vault, rows: int, start: int = 0) -> None:
    """Commit and sign rows of both logs."""
    for first in range(start, start + rows, 100):
        records = tuple(an_access_record(request_id=f"r-{number}") for number in range(first, first + 99))
        await vault.queue.commit(Write(records, purges=(a_purge_record(an_entry(f"gone-{first}")),)))
    await vault.log.sequencer.sequence()


def _inside(directory: Path, work: Callable[[Vault], Any]) -> Any:
    async def run() -> Any:
        settings = load_settings(
            None,
            {
                "VSQL_VAULT_STORAGE__DATABASE_URL": f"sqlite:///{directory / 'vault.db'}",
                "VSQL_VAULT_AUDIT__SIGNING_KEY_FILE": str(directory / "signing.key"),
            },
        )
        async with open_vault(settings) as vault:
            return await work(vault)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a stopped vault of 600 rows, its settings, its key, and an archive."""
    directory = tmp_path_factory.mktemp("made")
    (directory / "signing.key").write_text(KEY.reveal(), "utf-8")
    (directory / "signing.key").chmod(0o600)
    (directory / "vsql-vault.toml").write_text(SETTINGS, "utf-8")
    (directory / "archive").mkdir()
    _inside(directory, lambda vault: _grow(vault, 600))
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
        _inside(place, lambda vault: _grow(vault, 300, start=600))
        assert _archive("--out", "fresh") == 0
    finally:
        os.umask(umask)
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (place / "fresh").rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_every_file_is_synced_before_the_manifest(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _inside(place, lambda vault: _grow(vault, 300, start=600))
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


def test_an_archive_verifies_without_the_vault(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "vault.db").unlink()
    assert _check() == 0
    assert capsys.readouterr().out == "archive 1: verifies\n"


def test_a_row_and_a_record_say_what_was_archived(place: Path) -> None:
    archives: list[LogArchive] = list(_inside(place, lambda vault: vault.storage.archives()))
    rows: list[LeafRow] = list(_inside(place, _of_archive))
    assert [(one.number, one.first, one.end) for one in archives] == [(1, 0, 512)]
    document = json.loads(archives[0].document)
    assert document["manifest_sha256"] == ArchiveFiles(place / "archive").manifest(1).sha256  # type: ignore[union-attr]
    assert [getattr(row.record, "new_value", "") for row in rows] == [archives[0].document]


async def _of_archive(vault: Vault) -> list[LeafRow]:
    await vault.log.sequencer.sequence()
    rows = await vault.storage.leaf_rows(0, 10_000)
    return [row for row in rows if getattr(row.record, "operation", "") == Operation.ARCHIVE_LOG]


def test_the_vault_verifies_after_an_archive(place: Path) -> None:
    _inside(place, lambda vault: vault.log.sequencer.sequence())
    assert cli.main(["verify", "--config", "vsql-vault.toml"]) == 0


def test_verify_names_the_first_archived_row_that_went_without_a_recorded_drop(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def drop(vault: Vault) -> int:
        await vault.storage.drop_archived(LogName.ACCESS, 0, 10)
        return await vault.storage.tree_size()

    size = _inside(place, drop)
    left = [row.index for row in _inside(place, lambda vault: vault.storage.leaf_rows(0, size))]
    assert set(range(10)).isdisjoint(left)
    capsys.readouterr()
    assert cli.main(["verify", "--config", "vsql-vault.toml", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    what = "10 rows are missing, and no signed leaf records archive 1"
    assert [(each["index"], each["what"]) for each in found] == [(0, what)]


def test_the_next_archive_begins_where_the_last_one_ended(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _archive("--out", "archive") == 0
    assert "nothing to archive" in capsys.readouterr().out
    _inside(place, lambda vault: _grow(vault, 300, start=600))
    assert _archive("--out", "archive", "--json") == 0
    made = json.loads(capsys.readouterr().out)["archive"]
    assert (made["number"], made["first"], made["end"]) == (2, 512, 768)
    assert _check() == 0


def test_rows_signed_after_the_given_time_are_not_archived(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _inside(place, lambda vault: _grow(vault, 300, start=600))
    assert _archive("--out", "archive", "--before", "2020-01-01T00:00:00Z") == 0
    assert "nothing to archive" in capsys.readouterr().out


def test_a_directory_that_does_not_exist_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _inside(place, lambda vault: _grow(vault, 300, start=600))
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

    _inside(place, cut)
    assert _archive("--out", "archive") == 0
    assert [one.end for one in _inside(place, lambda vault: vault.storage.archives())] == [512, 768]
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

    assert _inside(place, archive) == 1


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

    _inside(place, archive)


def _edited(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def tamper(archive: Path) -> None:
        path = archive / name
        path.write_bytes(change(path.read_bytes()))

    return tamper


def _removed(name: str) -> Callable[[Path], None]:
    return lambda archive: (archive / name).unlink()


def _swapped(one: str, other: str) -> Callable[[Path], None]:
    def tamper(archive: Path) -> None:
        first, second = (archive / one).read_bytes(), (archive / other).read_bytes()
        (archive / one).write_bytes(second)
        (archive / other).write_bytes(first)

    return tamper


def _manifest(**members: object) -> Callable[[Path], None]:
    def change(content: bytes) -> bytes:
        return json.dumps(json.loads(content) | members, indent=1, ensure_ascii=False).encode() + b"\n"

    return _edited("archives/000001.json", change)


def _signed_by_another(archive: Path) -> None:
    manifest = ArchiveFiles(archive).manifest(1)
    assert manifest is not None
    head = TreeHead(STRANGER.verifier.name, manifest.head.size, manifest.head.root)
    _manifest(checkpoint=sign_checkpoint(head, STRANGER.signer))(archive)


def _both_swapped(archive: Path) -> None:
    _swapped(BUNDLE, "tile/entries/001")(archive)
    _swapped("tile/0/000", "tile/0/001")(archive)


def _above_changed(archive: Path) -> None:
    path = next((archive / "tile/1").rglob("2"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


TAMPERS: dict[str, Callable[[Path], None]] = {
    "a letter of a row": _edited(BUNDLE, lambda data: data.replace(b"granted", b"granteD", 1)),
    "the app of a row": _edited(BUNDLE, lambda data: data.replace(b'"app":"p', b'"app":"q', 1)),
    "the last byte of a bundle": _edited("tile/entries/001", lambda data: data[:-1] + b"]"),
    "a bundle cut short": _edited(BUNDLE, lambda data: data[:-10]),
    "an empty bundle": _edited(BUNDLE, lambda _: b""),
    "a row more": _edited(BUNDLE, lambda data: data + b"\x00\x02{}"),
    "the first row gone": _edited(BUNDLE, lambda data: data[2 + int.from_bytes(data[:2], "big") :]),
    "a bundle gone": _removed(BUNDLE),
    "two bundles swapped": _swapped(BUNDLE, "tile/entries/001"),
    "a hash of a tile": _edited("tile/0/000", lambda data: bytes(32) + data[32:]),
    "a tile cut short": _edited("tile/0/001", lambda data: data[:-32]),
    "a tile gone": _removed("tile/0/000"),
    "two tiles swapped": _swapped("tile/0/000", "tile/0/001"),
    "bundles and tiles swapped": _both_swapped,
    "a hash above": _above_changed,
    "the number of rows": _manifest(access_rows=1),
    "the number of purges": _manifest(purge_rows=99),
    "the rows that stay": _manifest(kept_sha256="0" * 64),
    "the newest time": _manifest(newest_row_at="2020-01-01T00:00:00Z"),
    "the last leaf": _manifest(end=256),
    "another key": _signed_by_another,
}  # fmt: skip


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
