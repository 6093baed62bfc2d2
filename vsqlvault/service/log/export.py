"""The log in one file for offline verification: a ZIP with the resources of ``/audit`` under their names.

docs/audit-log.md publishes the format.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vsqlvault.durable_file import durable_file
from vsqlvault.errors import StartUpRefused
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.log_check import Finding, SignedHead
from vsqlvault.proof.note import NoteRefused, VerifierKey
from vsqlvault.proof.state_replay import StateReplay
from vsqlvault.proof.tiles import MAX_ENTRY_BYTES, WIDTH, format_path, keys_of, read_bundle, width_of, write_bundle
from vsqlvault.proof.tree import HASH_BYTES
from vsqlvault.service.log.export_tables import (
    MAX_LINE_BYTES,
    TableWriter,
    member_name,
    put_tables,
    read_tables,
    table_files,
)
from vsqlvault.service.log.verification import Progress, StorageSource

FORMAT = "vsqlvault-audit-export-v1"
MANIFEST, CHECKPOINT, KEY = "manifest.json", "checkpoint", "vkey"
MAX_TEXT_BYTES = 4 * 1024 * 1024
MAX_BUNDLE_BYTES = WIDTH * (2 + MAX_ENTRY_BYTES)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_ABOUT = """A transparency log of vsqlvault. Verify it without the vault:

    vsql-vault verify FILE --vkey KEY --checkpoint KEPT

or with any tool for C2SP tlog-tiles (https://c2sp.org/tlog-tiles): the files have the names of that format. Get KEY from
someone other than the sender of this file; the key in this file proves nothing. KEPT is a
checkpoint that you kept from the last time.
"""


class ExportUnreadable(StartUpRefused):
    """The file is not an export of a transparency log."""


async def write_export(
    path: Path,
    source: StorageSource,
    verifier: VerifierKey | None,
    progress: Progress,
    tables_of: Storage | None = None,
) -> int:
    """Write the log up to its newest checkpoint, and return its number of leaves. The file appears only when complete.

    ``tables_of``: also write the tables of this storage.

    Raises:
        ExportUnreadable: nothing is signed yet, or the file cannot be written. Unavailable.
    """
    notes = await source.checkpoints()
    if not notes:
        raise ExportUnreadable("expected a signed log, found no checkpoint")
    try:
        size = SignedHead.parse(notes[-1]).head.size
    except NoteRefused as refused:
        raise ExportUnreadable(f"the newest checkpoint is malformed: {refused}") from None
    try:
        with durable_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            _put(archive, "README.txt", _ABOUT.encode())
            _put(archive, CHECKPOINT, notes[-1].encode())
            if verifier is not None:
                _put(archive, KEY, f"{verifier}\n".encode())
            for number, note in enumerate(notes[:-1]):
                _put(archive, f"checkpoints/{number:06}", note.encode())
            replay = None if tables_of is None else StateReplay()
            await _put_tree(archive, source, size, progress, replay)
            anomalies = await source.anomalies()
            counts = None
            if replay is not None and tables_of is not None:
                counts = await _put_tables(archive, path.parent, tables_of, source, replay)
            archives = await source.archive_documents()
            _put(archive, MANIFEST, _manifest(size, anomalies, source.waiting, counts, archives))
    except OSError as error:
        raise ExportUnreadable(f"{path}: expected a writable file, found: {error.strerror}") from error
    return size


async def _put_tables(
    archive: zipfile.ZipFile, directory: Path, storage: Storage, source: StorageSource, replay: StateReplay
) -> Mapping[str, int]:
    """Write the tables, and return the number of lines of each member."""
    with table_files(directory) as files:
        writer = TableWriter(files)
        await read_tables(writer, storage, source, replay)
        put_tables(archive, files, _described)
        return writer.counts


async def _put_tree(
    archive: zipfile.ZipFile, source: StorageSource, size: int, progress: Progress, replay: StateReplay | None
) -> None:
    for key in keys_of(size):
        width = width_of(key, size)
        name = format_path(key.index, width)
        if key.level == 0:
            leaves = await source.bundle(key.index, width)
            if replay is not None:
                for place, leaf in enumerate(leaves, start=key.index * WIDTH):
                    replay.take(place, leaf)
            _put(archive, f"tile/entries/{name}", write_bundle([*leaves, *[b""] * (width - len(leaves))]))
            progress(key.index * WIDTH + width, size)
        _put(archive, f"tile/{key.level}/{name}", (await source.tile(key))[: width * HASH_BYTES])


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(_described(name), data)


def _described(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o600 << 16
    return member


def _manifest(
    size: int,
    anomalies: Sequence[Finding],
    waiting: int,
    tables: Mapping[str, int] | None,
    archives: Sequence[str],
) -> bytes:
    document: dict[str, Any] = {
        "format": FORMAT,
        "size": size,
        "rows_waiting": waiting,
        "anomalies": [{"index": finding.index, "what": finding.what} for finding in anomalies],
    }
    if archives:
        document["archives"] = archives
    if tables is not None:
        document["tables"] = tables
    return json.dumps(document, indent=1).encode()


class ExportSource:
    """A log in a file that claims to come from ``write_export``."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Raises ExportUnreadable: it has no manifest of this format, or no checkpoint."""
        self._archive = archive
        self._names = set(archive.namelist())
        self._manifest = _document(self._read(MANIFEST, MAX_TEXT_BYTES))
        note = self._text(CHECKPOINT)
        try:
            self.size = SignedHead.parse(note).head.size
        except NoteRefused as refused:
            raise ExportUnreadable(f"{CHECKPOINT}: {refused}") from None
        self._note = note

    async def checkpoints(self) -> Sequence[str]:
        """See ``LogSource.checkpoints``."""
        earlier = sorted(name for name in self._names if name.startswith("checkpoints/"))
        return [*(self._text(name) for name in earlier), self._note]

    async def bundle(self, index: int, width: int) -> Sequence[bytes]:
        """See ``LogSource.bundle``. A malformed bundle counts as missing."""
        return self._bundle(index, width)

    def _bundle(self, index: int, width: int) -> Sequence[bytes]:
        try:
            return read_bundle(self._read(f"tile/entries/{format_path(index, width)}", MAX_BUNDLE_BYTES))[:width]
        except ValueError:
            return []

    async def tile(self, key: TileKey) -> bytes:
        """See ``LogSource.tile``."""
        width = width_of(key, self.size)
        return self._read(f"tile/{key.level}/{format_path(key.index, width)}", WIDTH * HASH_BYTES) if width else b""

    def leaves(self) -> Iterator[bytes]:
        """Yield all leaves, with one bundle in memory at a time."""
        return (
            leaf
            for index in range(-(-self.size // WIDTH))
            for leaf in self._bundle(index, width_of(TileKey(0, index), self.size))
        )

    async def anomalies(self) -> Sequence[Finding]:
        """See ``LogSource.anomalies``: those found when the log was exported."""
        try:
            return [Finding(int(each["index"]), str(each["what"])) for each in self._manifest["anomalies"]]
        except (KeyError, TypeError, ValueError):
            raise ExportUnreadable(f"{MANIFEST}: expected anomalies, each with an index and a sentence") from None

    @property
    def archives(self) -> Sequence[str]:
        """The records of archives in the vault. Raises ExportUnreadable."""
        found = self._manifest.get("archives", [])
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise ExportUnreadable(f"{MANIFEST}: expected archives, each with the text of its record")
        return found

    @property
    def has_tables(self) -> bool:
        """Whether the export has the tables, and not only the log."""
        return "tables" in self._manifest

    def lines(self, table: str) -> Iterator[bytes]:
        """Yield the lines of a table. Raises ExportUnreadable: it is missing, or has another number of lines."""
        name, count = member_name(table), 0
        if name not in self._names:
            raise ExportUnreadable(f"{name}: expected this member, because {MANIFEST} has tables")
        try:
            with self._archive.open(name) as member:
                while line := member.readline(MAX_LINE_BYTES):
                    count += 1
                    yield line
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise ExportUnreadable(f"{name}: expected a complete file, found: {error}") from error
        try:
            expected = self._manifest["tables"][table]
        except (KeyError, TypeError):
            expected = None
        if count != expected:
            raise ExportUnreadable(f"{name}: expected {expected} lines, found {count}")

    def _text(self, name: str) -> str:
        try:
            return self._read(name, MAX_TEXT_BYTES).decode()
        except UnicodeDecodeError:
            raise ExportUnreadable(f"{name}: expected UTF-8 text") from None

    def _read(self, name: str, limit: int) -> bytes:
        """Return a member's bytes; empty if it is missing. At most ``limit`` bytes are unpacked."""
        if name not in self._names:
            return b""
        try:
            with self._archive.open(name) as member:
                found = member.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise ExportUnreadable(f"{name}: expected a complete file, found: {error}") from error
        if len(found) > limit:
            raise ExportUnreadable(f"{name}: expected at most {limit} bytes")
        return found


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ExportUnreadable(f"{MANIFEST}: expected the format {FORMAT}")
    return document


@contextmanager
def open_export(path: Path) -> Iterator[ExportSource]:
    """Open an export for the length of the block. Raises ExportUnreadable."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ExportUnreadable(f"{path}: expected an export of a transparency log, found: {error}") from error
    with archive:
        yield ExportSource(archive)
