"""The files of an archive: a log in the layout of C2SP tlog-tiles, so that any file server can serve it.

``checkpoint``, ``tile/…`` and ``tile/entries/…`` are the log up to the newest archive. ``archives/000001.json`` is the manifest
of the first archive. docs/archive.md publishes the format.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from vsqlvault.durable_file import sync_directory, write_durably
from vsqlvault.errors import StartUpRefused
from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.archive_check import MAX_MANIFEST_BYTES, ArchiveCheck, ArchiveManifest, ManifestInvalid
from vsqlvault.proof.tiles import MAX_ENTRY_BYTES, WIDTH, format_path, read_bundle, width_of, write_bundle
from vsqlvault.proof.tree import HASH_BYTES

MAX_BUNDLE_BYTES = WIDTH * (2 + MAX_ENTRY_BYTES)
CHECKPOINT = "checkpoint"
SYNCED_AT_ONCE = 128
FILE_MODE, DIRECTORY_MODE = 0o600, 0o700
"""Rows name identities and addresses, so only the owner reads what is created."""


class ArchiveUnusable(StartUpRefused):
    """An archive cannot be written or read, or it is not what the log records."""


class ArchiveFiles:
    """The files in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._made: set[Path] = set()
        self._written: list[BinaryIO] = []

    def manifest_file(self, number: int) -> Path:
        """Return the file of a manifest."""
        return self.directory / "archives" / f"{number:06}.json"

    def write_bundles(self, first: int, bundles: Sequence[Sequence[bytes]]) -> None:
        """Write entry bundles, from the index ``first`` on. Raises ArchiveUnusable."""
        for index, leaves in enumerate(bundles, start=first):
            self._write(f"tile/entries/{format_path(index)}", write_bundle(leaves))

    def write_tiles(self, tiles: Mapping[TileKey, bytes], size: int) -> None:
        """Write tiles as those of a tree of ``size``. Raises ArchiveUnusable."""
        for key, hashes in tiles.items():
            width = width_of(key, size)
            self._write(f"tile/{key.level}/{format_path(key.index, width)}", hashes[: width * HASH_BYTES])

    def has_tile(self, key: TileKey, size: int) -> bool:
        """Whether a tile is there, with its whole length."""
        width = width_of(key, size)
        try:
            path = self.directory / f"tile/{key.level}/{format_path(key.index, width)}"
            return path.stat().st_size == width * HASH_BYTES
        except OSError:
            return False

    def sync(self) -> None:
        """Make sure that the files written so far survive a power cut. Raises ArchiveUnusable.

        Their bytes are sent to the disk together before the first is waited for. Otherwise each file has a commit of the file
        system's journal to itself, and the commits of a vault on the same file system wait behind each.
        """
        written, self._written = self._written, []
        try:
            for file in written:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for file in written:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that the check reads the disk
        except OSError as error:
            raise ArchiveUnusable(f"{self.directory}: expected writable files, found: {error.strerror}") from error
        finally:
            for file in written:
                file.close()

    def finish(self, manifest: ArchiveManifest) -> None:
        """Make sure that all files survive a power cut, then write the checkpoint and the manifest. Raises ArchiveUnusable."""
        self.sync()
        try:
            for directory in sorted(self._made | {self.directory}):
                sync_directory(directory)
            write_durably(self.directory / CHECKPOINT, manifest.checkpoint.encode())
            self._make(self.manifest_file(manifest.number).parent)
            write_durably(self.manifest_file(manifest.number), manifest.content)
            sync_directory(self.directory)
        except OSError as error:
            raise ArchiveUnusable(
                f"{self.directory}: expected a writable directory, found: {error.strerror}"
            ) from error

    def manifest(self, number: int) -> ArchiveManifest | None:
        """Return the manifest of an archive; None if there is none. Raises ArchiveUnusable: it is malformed."""
        path = self.manifest_file(number)
        content = self._read(path, MAX_MANIFEST_BYTES)
        if not content:
            return None
        try:
            return ArchiveManifest.parse(content)
        except ManifestInvalid as invalid:
            raise ArchiveUnusable(f"{path}: {invalid}") from None

    def numbers(self) -> list[int]:
        """Return the numbers of all manifests."""
        try:
            names = [path.stem for path in (self.directory / "archives").glob("*.json")]
        except OSError:
            return []
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def checkpoint(self) -> str:
        """Return the newest checkpoint; empty if there is none. Raises ArchiveUnusable."""
        return self._read(self.directory / CHECKPOINT, MAX_MANIFEST_BYTES).decode(errors="replace")

    def bundle(self, index: int) -> Sequence[bytes]:
        """Return the leaves of a bundle; none if it is missing or malformed. Raises ArchiveUnusable."""
        try:
            return read_bundle(self._read(self.directory / "tile/entries" / format_path(index), MAX_BUNDLE_BYTES))
        except ValueError:
            return ()

    def tiles_of(self, size: int) -> Callable[[TileKey], bytes]:
        """Return a reader of the tiles of a tree of ``size``. It keeps the last tile of each level."""
        kept: dict[int, tuple[int, bytes]] = {}

        def read(key: TileKey) -> bytes:
            width = width_of(key, size)
            if not width:
                return b""
            if key.level in kept and kept[key.level][0] == key.index:
                return kept[key.level][1]
            name = f"tile/{key.level}/{format_path(key.index, width)}"
            hashes = self._read(self.directory / name, WIDTH * HASH_BYTES) or self._later(key)
            kept[key.level] = key.index, hashes[: width * HASH_BYTES]
            return kept[key.level][1]

        return read

    def check(self, manifest: ArchiveManifest) -> ArchiveCheck:
        """Return a check of an archive, which reads its tiles here."""
        return ArchiveCheck(manifest, self.tiles_of(manifest.head.size))

    def _later(self, key: TileKey) -> bytes:
        """Return the full tile, which a later archive has written, in place of a partial one."""
        return self._read(self.directory / f"tile/{key.level}/{format_path(key.index)}", WIDTH * HASH_BYTES)

    def _write(self, name: str, content: bytes) -> None:
        path = self.directory / name
        try:
            self._make(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
            file = os.fdopen(descriptor, "r+b")
            self._written.append(file)
            if (
                file.read(len(content) + 1) != content
            ):  # a tile of an earlier archive is never cut short, not even by a kill
                file.seek(0)
                file.truncate()
                file.write(content)
                file.flush()
        except OSError as error:
            raise ArchiveUnusable(f"{path}: expected a writable file, found: {error.strerror}") from error
        if len(self._written) >= SYNCED_AT_ONCE:
            self.sync()

    def _make(self, directory: Path) -> None:
        if directory in self._made:
            return
        if not self.directory.is_dir():
            raise ArchiveUnusable(f"{self.directory}: expected a directory that exists")
        if directory != self.directory:
            self._make(directory.parent)  # mkdir(parents=True) would give the parents the default mode
            directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            self._made.add(directory)

    def _read(self, path: Path, limit: int) -> bytes:
        """Return a file's bytes; empty if it is missing."""
        try:
            with path.open("rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise ArchiveUnusable(f"{path}: expected a readable file, found: {error.strerror}") from error
        if len(content) > limit:
            raise ArchiveUnusable(f"{path}: expected at most {limit} bytes")
        return content
