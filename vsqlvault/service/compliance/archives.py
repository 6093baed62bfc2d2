"""Reading and writing ZIP files.

The writer is deterministic: the same members give the same bytes. The reader bounds its memory whatever the file says.
Nothing is unpacked to disk.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

from vsqlvault.quick_dataclass import dataclass

EPOCH = (1980, 1, 1, 0, 0, 0)
MODE = 0o600 << 16
_UNIX = 3
MAX_DIRECTORY_BYTES = 32 * 1024 * 1024
PIECE_BYTES = 64 * 1024
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 0x1
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)


class ArchiveUnreadable(ValueError):
    """The file is not a supported ZIP file, or a member cannot be read."""


@dataclass(frozen=True, slots=True)
class Member:
    """A written member: its name, its unpacked size in bytes, and its SHA-256 as 64 hex digits."""

    name: str
    size: int
    sha256: str


class ArchiveWriter:
    """Writes members in sequence. ``take`` returns the bytes of the file produced since the previous call."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._archive = zipfile.ZipFile(cast("IO[bytes]", self._sink), "w", zipfile.ZIP_DEFLATED)
        self.members: list[Member] = []

    def put(self, name: str, data: bytes) -> None:
        """Write a member whose bytes are known in advance."""
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
        """Return what was written since the previous call."""
        return self._sink.take()

    def close(self) -> bytes:
        """Close the file and return its last bytes."""
        self._archive.close()
        return self._sink.take()


class MemberWriter:
    """Takes the pieces of one member."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = sha256()
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Append a piece."""
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the bytes written."""
        return self._hash.hexdigest()


class _Sink:
    """Buffers output until it is taken. It cannot seek, so a file and a stream get the same bytes."""

    def __init__(self) -> None:
        self._pieces = bytearray()

    def write(self, piece: Any) -> int:
        self._pieces += piece
        return len(piece)

    def flush(self) -> None:
        """Do nothing: there is no lower layer to flush to."""

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
    """A ZIP file from an untrusted source."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.twice: set[str] = set()
        """Names that occur more than once: readers would disagree about their content."""
        for info in archive.infolist():
            if info.filename in self._members:
                self.twice.add(info.filename)
            self._members[info.filename] = info

    @property
    def names(self) -> set[str]:
        """Return the names of the members."""
        return set(self._members)

    def read(self, name: str, limit: int) -> bytes:
        """Return the bytes of a member. Raises ArchiveUnreadable: it is missing, larger than ``limit``, or unreadable."""
        return b"".join(self.pieces(name, limit))

    def pieces(self, name: str, limit: int) -> Iterator[bytes]:
        """Yield the bytes of a member in pieces. Raises as ``read``; at most ``limit`` bytes are unpacked."""
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
def open_archive(path: Path, max_directory_bytes: int = MAX_DIRECTORY_BYTES) -> Iterator[Archive]:
    """Open a ZIP file for the length of the block. Raises ArchiveUnreadable."""
    try:
        file = _Bounded(path.open("rb"), max_directory_bytes)
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
    """A file that limits a single read to the largest accepted directory, which ``zipfile`` reads whole."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, count: int = -1) -> bytes:
        wanted = self._size - self._file.tell() if count is None or count < 0 else count
        if wanted > self._max_bytes:
            raise zipfile.BadZipFile(f"a directory of more than {self._max_bytes} bytes")
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
