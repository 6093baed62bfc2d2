"""ZIP files: written so that the same members give the same bytes, and read so that no file can make the reader large.

Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

EPOCH = (1980, 1, 1, 0, 0, 0)
MODE = 0o600 << 16
_UNIX = 3
MAX_DIRECTORY_BYTES = 32 * 1024 * 1024
PIECE_BYTES = 64 * 1024
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 0x1
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)


class ArchiveUnreadable(ValueError):
    """A file is no ZIP file that is read here, or a member of it cannot be read."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member as it was written: its name, how many bytes it has unpacked, and their SHA-256, 64 hex digits."""

    name: str
    size: int
    sha256: str


class ArchiveWriter:
    """Writes members one after the other; ``take`` gives the bytes of the file that there are since it was last called."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._archive = zipfile.ZipFile(cast("IO[bytes]", self._sink), "w", zipfile.ZIP_DEFLATED)
        self.members: list[Member] = []

    def put(self, name: str, data: bytes) -> None:
        """Write a member whose bytes are known."""
        self._archive.writestr(_described(name), data)
        self.members.append(Member(name, len(data), sha256(data).hexdigest()))

    @contextmanager
    def open(self, name: str) -> Iterator[MemberWriter]:
        """Write a member piece by piece."""
        with self._archive.open(_described(name), "w", force_zip64=True) as file:
            writer = MemberWriter(file)
            yield writer
        self.members.append(Member(name, writer.size, writer.digest))

    def take(self) -> bytes:
        """Return what was written since the last time."""
        return self._sink.take()

    def close(self) -> bytes:
        """End the file, and return its last bytes."""
        self._archive.close()
        return self._sink.take()


class MemberWriter:
    """Takes the pieces of one member."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = sha256()
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written."""
        return self._hash.hexdigest()


class _Sink:
    """Keeps what is written until it is taken. It cannot seek, so that a file and a stream get the same bytes."""

    def __init__(self) -> None:
        self._pieces = bytearray()

    def write(self, piece: Any) -> int:
        self._pieces += piece
        return len(piece)

    def flush(self) -> None:
        """Do nothing: what is written is here."""

    def take(self) -> bytes:
        taken = bytes(self._pieces)
        self._pieces.clear()
        return taken


def _described(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = MODE
    member.create_system = _UNIX
    return member


class Archive:
    """A ZIP file that somebody gave us."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.twice: set[str] = set()
        """Names that stand in it more than once: what they are depends on who reads."""
        for info in archive.infolist():
            if info.filename in self._members:
                self.twice.add(info.filename)
            self._members[info.filename] = info

    @property
    def names(self) -> set[str]:
        """The members' names."""
        return set(self._members)

    def read(self, name: str, limit: int) -> bytes:
        """Return a member's bytes. Raises ArchiveUnreadable: it is not there, has more than ``limit``, or cannot be read."""
        return b"".join(self.pieces(name, limit))

    def pieces(self, name: str, limit: int) -> Iterator[bytes]:
        """Give a member's bytes piece by piece. Raises as ``read``; no more than ``limit`` are unpacked."""
        info = self._members.get(name)
        if info is None:
            raise ArchiveUnreadable(f"{name}: expected such a member, found none")
        if info.compress_type not in _METHODS or info.flag_bits & _ENCRYPTED:
            raise ArchiveUnreadable(f"{name}: expected a member that is stored or deflated, and not encrypted")
        left = limit
        try:
            with self._archive.open(info) as member:
                while piece := member.read(min(PIECE_BYTES, left + 1)):
                    left -= len(piece)
                    if left < 0:
                        raise ArchiveUnreadable(f"{name}: expected at most {limit} bytes")
                    yield piece
        except ArchiveUnreadable:
            raise
        except _UNREADABLE as error:
            raise ArchiveUnreadable(f"{name}: expected a whole member, found: {error}") from error


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a ZIP file for the length of the block. Raises ArchiveUnreadable."""
    try:
        file = _Bounded(path.open("rb"))
    except OSError as error:
        raise ArchiveUnreadable(f"{path}: expected a readable file, found: {error.strerror}") from None
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except _UNREADABLE as error:
            raise ArchiveUnreadable(f"{path}: expected a ZIP file, found: {error}") from error
        with archive:
            yield Archive(archive)


class _Bounded:
    """A file that gives away no more at once than a directory may have: that is what a ZIP file's reader takes in whole."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, count: int = -1) -> bytes:
        wanted = self._size - self._file.tell() if count is None or count < 0 else count
        if wanted > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of more than {MAX_DIRECTORY_BYTES} bytes")
        return self._file.read(count)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
