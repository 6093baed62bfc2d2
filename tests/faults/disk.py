"""What a disk holds after a power cut, by the records of ``record_writes.c``.

Without an fsync a write may be lost, torn at sectors, or reach the disk before an earlier one. Without an fsync of the
directory a name may be lost, in order: later changes of names never survive earlier ones.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

HEAD = struct.Struct("<cIQI")
DIRECTORY = "."
SECTORS = (512, 4096)


@dataclass(frozen=True, slots=True)
class Record:
    """One call of the process. ``data`` is the new name of a rename or a link."""

    operation: str
    name: str
    offset: int
    data: bytes


@dataclass(slots=True)
class File:
    """The synced content of a file, and the changes since, in order: writes, and truncations (``data`` None)."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    syncing: int = 0


class Disk:
    """Follows the records, and gives images as after a cut at this moment.

    ``base`` is a directory as it was, and wholly synced, before the first record. Without one there was no file.
    ``keeps_names``: no name is lost, for a program that syncs more directories than the one.
    """

    def __init__(self, base: Path | None = None, *, keeps_names: bool = False) -> None:
        self._base = base
        self._keeps_names = keeps_names
        self._names: dict[str, File] = {}
        self._synced_names: dict[str, File] = {}
        self._name_changes: list[dict[str, File]] = []
        self._syncing_names = 0
        self._gone: set[str] = set()
        self.said = bytearray()
        """What the process has written to ``acks``: it has left the machine."""

    def apply(self, record: Record) -> None:
        if record.name == "acks":
            self.said += record.data if record.operation == "W" else b""
        elif record.name == DIRECTORY:
            self._sync_names(record.operation)
        elif record.operation in "RLU":
            self._change_names(record)
        else:
            self._change_file(record)

    def image(self, chance: random.Random) -> dict[str, bytes]:
        """Return the files, by name, with a random part of what was not synced."""
        kept_names = len(self._name_changes) if self._keeps_names else chance.randint(0, len(self._name_changes))
        names = self._name_changes[kept_names - 1] if kept_names else self._synced_names
        share, sector = chance.choice((0.0, 0.5, 0.9, 1.0)), chance.choice((*SECTORS, 0))
        return {name: _image(file, chance, share, sector) for name, file in names.items()}

    @property
    def gone(self) -> set[str]:
        """The names of ``base`` that were removed."""
        return self._gone - self._names.keys()

    def _file(self, name: str) -> File | None:
        if name not in self._names and name not in self._gone and self._base and (self._base / name).is_file():
            self._names[name] = File(bytearray((self._base / name).read_bytes()))
            self._name_changes.append(dict(self._names))
        return self._names.get(name)

    def _change_file(self, record: Record) -> None:
        file = self._file(record.name)
        if file is None:
            file = self._names[record.name] = File()
            self._name_changes.append(dict(self._names))
        if record.operation == "B":
            file.syncing = len(file.pending)
        elif record.operation == "E":
            for offset, data in file.pending[: file.syncing]:
                _put(file.content, offset, data)
            del file.pending[: file.syncing]
            file.syncing = 0
        else:
            file.pending.append((record.offset, record.data if record.operation == "W" else None))

    def _change_names(self, record: Record) -> None:
        file = self._file(record.name)
        if file is None:
            return
        if record.operation != "L":
            del self._names[record.name]
            self._gone.add(record.name)
        if record.operation != "U":
            self._names[record.data.decode()] = file
        self._name_changes.append(dict(self._names))

    def _sync_names(self, operation: str) -> None:
        if operation == "B":
            self._syncing_names = len(self._name_changes)
        elif operation == "E" and self._syncing_names:
            self._synced_names = self._name_changes[self._syncing_names - 1]
            del self._name_changes[: self._syncing_names]
            self._syncing_names = 0


def records_in(path: Path) -> Iterator[Record]:
    """Yield the complete records of a file."""
    data, at = path.read_bytes(), 0
    while at + HEAD.size <= len(data):
        operation, length, offset, size = HEAD.unpack_from(data, at)
        start = at + HEAD.size
        at = start + length + size
        if at <= len(data):
            yield Record(operation.decode(), data[start : start + length].decode(), offset, data[start + length : at])


def _image(file: File, chance: random.Random, share: float, sector: int) -> bytes:
    """Return the content with each pending change kept with the probability ``share``, in whole or by sectors."""
    found = bytearray(file.content)
    for offset, data in file.pending:
        if data is None or not sector:
            if chance.random() < share:
                _put(found, offset, data)
            continue
        end = offset + len(data)
        edges = [offset, *range((offset // sector + 1) * sector, end, sector), end]
        for start, stop in pairwise(edges):
            if chance.random() < share:
                _put(found, start, data[start - offset : stop - offset])
    return bytes(found)


def _put(content: bytearray, offset: int, data: bytes | None) -> None:
    size = offset if data is None else max(len(content), offset + len(data))
    if size > len(content):
        content.extend(bytes(size - len(content)))
    if data is None:
        del content[size:]
    else:
        content[offset : offset + len(data)] = data
