"""An archive and the log that dropped its rows: both verifiers accept them together, and find what was changed in either."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from tests.support.archived_vault import KEY, TAMPERS
from tests.support.exports import access_leaf, second_verifier, signed_head
from vsqlvault.model.times import parse_time
from vsqlvault.proof.archive_check import ArchiveManifest
from vsqlvault.proof.archive_drop import DropRecord
from vsqlvault.proof.archive_record import ArchiveRecord, KeptDigest
from vsqlvault.proof.tiles import WIDTH, Edge, format_path, width_of, write_bundle
from vsqlvault.proof.tree import leaf_hash
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.log.archive.files import ArchiveFiles
from vsqlvault.service.log.archive.source import verify_with_archives
from vsqlvault.service.log.export import FORMAT, open_export
from vsqlvault.service.log.verification import verify_log

END, SIZE, KEPT = 2 * WIDTH, 600, 7
AT = "2027-02-16T09:30:00.000000Z"


@dataclass(frozen=True)
class Rest:
    """A log to export: all its leaves, those whose rows are gone, and the records in its manifest."""

    leaves: tuple[bytes, ...]
    stored: tuple[bytes, ...]
    missing: frozenset[int]
    archives: tuple[str, ...]

    def with_leaf(self, index: int, leaf: bytes) -> Rest:
        """Return the log with another row, from before it was signed."""
        leaves = (*self.leaves[:index], leaf, *self.leaves[index + 1 :])
        return replace(self, leaves=leaves, stored=leaves)


def _row(number: int) -> bytes:
    operation = "confirm-clock" if number == KEPT else "retrieve"
    return access_leaf(operation=operation, outcome="granted", at=AT, app="payments", request_id=f"r-{number}")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the first two bundles."""
    directory = tmp_path_factory.mktemp("archive")
    leaves = [_row(number) for number in range(END)]
    kept = KeptDigest()
    kept.take(leaves[KEPT], leaf_hash(leaves[KEPT]))
    tiles = Edge().grown([leaf_hash(leaf) for leaf in leaves])[1]
    files = ArchiveFiles(directory)
    files.write_bundles(0, [leaves[:WIDTH], leaves[WIDTH:]])
    files.write_tiles(tiles, END)
    files.finish(ArchiveManifest(
        number=1, first=0, end=END, access_rows=END, purge_rows=0, kept_rows=1, kept_sha256=kept.sha256,
        newest_row_at=parse_time(AT), checkpoint=signed_head(leaves, KEY),
    ))  # fmt: skip
    return directory


def _record(archive: Path) -> ArchiveRecord:
    manifest = ArchiveFiles(archive).manifest(1)
    assert manifest is not None
    return ArchiveRecord(
        number=1, first=0, end=END, access_rows=END, purge_rows=0, newest_row_at=manifest.newest_row_at,
        kept_rows=1, kept_sha256=manifest.kept_sha256, checkpoint_size=END, manifest_sha256=manifest.sha256,
        place="/archive", period_days=0,
    )  # fmt: skip


@pytest.fixture
def rest(archive: Path) -> Rest:
    """The log whose archived rows were dropped, but for the one that stays."""
    record = _record(archive)
    drop = DropRecord(
        archive=1, first=0, end=END, manifest_sha256=record.manifest_sha256, state="begun", min_days=366,
        min_days_from="default", operator="keeper@host",
    )  # fmt: skip
    rows = [_row(number) for number in range(SIZE)]
    rows[END] = access_leaf(operation="archive-log", outcome="granted", at=AT, new_value=record.text)
    rows[END + 1] = access_leaf(operation="drop-archived", outcome="granted", at=AT, new_value=drop.text)
    missing = frozenset(set(range(END)) - {KEPT})
    return Rest(tuple(rows), tuple(rows), missing, (record.text,))


def _write(path: Path, rest: Rest) -> None:
    """Write an export. The tiles are those over ``stored``."""
    tiles = Edge().grown([leaf_hash(leaf) for leaf in rest.stored])[1]
    rows = [b"" if index in rest.missing else leaf for index, leaf in enumerate(rest.leaves)]
    manifest = {"format": FORMAT, "size": SIZE, "anomalies": [], "archives": rest.archives}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", json.dumps(manifest))
        file.writestr("checkpoint", signed_head(rest.stored, KEY))
        for key, tile in tiles.items():
            name = format_path(key.index, width_of(key, SIZE))
            file.writestr(f"tile/{key.level}/{name}", tile)
            if key.level == 0:
                file.writestr(f"tile/entries/{name}", write_bundle(rows[key.index * WIDTH : (key.index + 1) * WIDTH]))


def _found(path: Path, archive: Path | None) -> tuple[Sequence[int], Sequence[int]]:
    """Return the indexes that the vault's verifier finds, and those of the second one."""
    with open_export(path) as source:
        trusted, directories = [KEY.verifier], [archive] if archive else []
        if directories:
            check = verify_with_archives(source, trusted, (), lambda *_: None, None, directories, source.archives)
        else:
            check = verify_log(source, trusted, archives=source.archives)
        own = asyncio.run(check)
    with redirect_stdout(StringIO()), zipfile.ZipFile(path) as file:
        keys = [second_verifier.parse_key(str(KEY.verifier))]
        dirs = [second_verifier.ArchiveDir(str(each)) for each in directories]
        other, _ = second_verifier.check_export(second_verifier.Export(file), keys, (), directories=dirs)
    assert own.archived == other.archives.absent
    return [each.index for each in own.findings], [index for index, _ in other.findings]


def test_the_rest_verifies_by_its_hashes(rest: Rest, tmp_path: Path) -> None:
    _write(tmp_path / "rest.zip", rest)
    assert _found(tmp_path / "rest.zip", None) == ([], [])


def test_archive_and_rest_verify_as_one_log(rest: Rest, archive: Path, tmp_path: Path) -> None:
    _write(tmp_path / "rest.zip", rest)
    assert _found(tmp_path / "rest.zip", archive) == ([], [])


@pytest.mark.parametrize("what", TAMPERS)
def test_both_verifiers_find_a_changed_archive(rest: Rest, archive: Path, tmp_path: Path, what: str) -> None:
    copy = tmp_path / "archive"
    _copied(archive, copy)
    TAMPERS[what](copy)
    _write(tmp_path / "rest.zip", rest)
    own, other = _found(tmp_path / "rest.zip", copy)
    assert own
    assert other


def _copied(archive: Path, copy: Path) -> None:
    for path in archive.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(archive)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


def _without(index: int) -> Callable[[Rest], Rest]:
    return lambda rest: replace(rest, missing=rest.missing | {index})


def _changed(index: int, change: Callable[[bytes], bytes]) -> Callable[[Rest], Rest]:
    """A row that was changed after it was signed."""
    return lambda rest: replace(
        rest, leaves=(*rest.leaves[:index], change(rest.leaves[index]), *rest.leaves[index + 1 :])
    )


def _written(index: int, change: Callable[[bytes], bytes]) -> Callable[[Rest], Rest]:
    """A row that was signed so."""
    return lambda rest: rest.with_leaf(index, change(rest.leaves[index]))


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(leaf: bytes) -> bytes:
        assert old in leaf
        return leaf.replace(old, new)

    return change


REST: dict[str, Callable[[Rest], Rest]] = {
    "a row that had to stay is gone": _without(KEPT),
    "a row after the archive is gone": _without(END + 40),
    "a row after the archive was changed": _changed(END + 40, _replaced(b"payments", b"payment5")),
    "the row that stays was changed": _changed(KEPT, _replaced(b"payments", b"payment5")),
    "the record of the archive is gone": lambda rest: replace(rest, archives=()),
    "the record of the archive is malformed": lambda rest: replace(rest, archives=("{}",)),
    "a further record is malformed": lambda rest: replace(rest, archives=(*rest.archives, "{}")),
    "the record in the table is another one": lambda rest: replace(
        rest, archives=(rest.archives[0].replace('"kept_rows":1', '"kept_rows":2'),)
    ),
    "no row records the archive": _written(END, _replaced(b"archive-log", b"verify-log_")),
    "the row of the archive is a denial": _written(END, _replaced(b'"granted"', b'"denied"')),
    "no row records the drop": _written(END + 1, _replaced(b"drop-archived", b"verify-log-no")),
    "the row of the drop is a denial": _written(END + 1, _replaced(b'"granted"', b'"denied"')),
    "the drop was of another archive": _written(END + 1, _replaced(rb"\"archive\":1", rb"\"archive\":2")),
    "the drop was of another manifest": _written(END + 1, _replaced(rb"manifest_sha256\":\"", rb"manifest_sha256\":\"0")),
    "the hash of a dropped row was changed": lambda rest: replace(
        rest, stored=(b"another row", *rest.stored[1:]), leaves=(b"another row", *rest.leaves[1:])
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REST)
def test_both_verifiers_find_a_changed_rest(rest: Rest, archive: Path, tmp_path: Path, what: str) -> None:
    _write(tmp_path / "rest.zip", REST[what](rest))
    own, other = _found(tmp_path / "rest.zip", archive)
    assert own
    assert other


@pytest.mark.parametrize("what", [name for name in REST if name != "the hash of a dropped row was changed"])
def test_both_verifiers_find_a_changed_rest_without_the_archive(rest: Rest, tmp_path: Path, what: str) -> None:
    _write(tmp_path / "rest.zip", REST[what](rest))
    own, other = _found(tmp_path / "rest.zip", None)
    assert own
    assert other


def test_the_hash_of_a_dropped_row_is_bound_by_a_checkpoint_that_was_kept(rest: Rest, tmp_path: Path) -> None:
    _write(tmp_path / "rest.zip", REST["the hash of a dropped row was changed"](rest))
    with open_export(tmp_path / "rest.zip") as source:
        kept = signed_head(rest.leaves, KEY)
        found = asyncio.run(verify_log(source, [KEY.verifier], [kept], archives=source.archives)).findings
    assert found
    assert found[0].index == 0


def _beside(archive: Path, directory: Path, **members: int) -> Path:
    """Return a copy of an archive with one more manifest, which no record names."""
    _copied(archive, directory)
    manifest = ArchiveFiles(directory).manifest(1)
    assert manifest is not None
    ArchiveFiles(directory).finish(replace(manifest, **members))
    return directory


def test_an_archive_that_an_interrupted_run_left_is_no_finding(rest: Rest, archive: Path, tmp_path: Path) -> None:
    unrecorded = replace(rest, missing=frozenset(), archives=())
    _write(tmp_path / "rest.zip", unrecorded)
    assert _found(tmp_path / "rest.zip", archive) == ([], [])


def test_an_archive_that_no_record_names_and_that_does_not_continue_the_last_one_is_found(
    rest: Rest, archive: Path, tmp_path: Path
) -> None:
    _write(tmp_path / "rest.zip", rest)
    assert _found(tmp_path / "rest.zip", _beside(archive, tmp_path / "beside", number=2)) == ([0], [0])


def test_both_verifiers_find_an_archive_of_the_same_rows_that_is_not_the_recorded_one(
    rest: Rest, archive: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "archive"
    _copied(archive, copy)
    files = ArchiveFiles(copy)
    manifest = files.manifest(1)
    assert manifest is not None
    files.write_tiles(Edge().grown([leaf_hash(leaf) for leaf in rest.leaves])[1], SIZE)
    files.finish(replace(manifest, checkpoint=signed_head(rest.leaves, KEY)))
    _write(tmp_path / "rest.zip", rest)
    assert _found(tmp_path / "rest.zip", copy) == ([0], [0])
