"""Reports the records that an import rejects: the first on the terminal, all of them in a file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vsqlvault.cli.imports.source import Record
from vsqlvault.cli.output import cell
from vsqlvault.errors import FieldError, SettingsInvalid

MAX_SHOWN = 100


class Rejects:
    """Takes rejected records. A line of the file has ``place``, ``errors`` and ``entry``, and can be imported again."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file
        self.count = 0

    def add(self, record: Record, faults: Sequence[FieldError]) -> None:
        """Report one record."""
        self.count += 1
        if self.count <= MAX_SHOWN:
            for fault in faults:
                print(cell(f"{record.place}: {fault.sentence}"), file=sys.stderr)
        if self._file is not None:
            errors = [{"field": fault.field, "expected": fault.expected} for fault in faults]
            document = {"place": record.place, "errors": errors, "entry": _entry(record)}
            self._file.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")

    def end(self) -> None:
        """Say how many were not shown."""
        if self.count > MAX_SHOWN:
            hint = "" if self._file else "; --rejects FILE writes all of them to a file"
            print(f"and {self.count - MAX_SHOWN} more records were rejected{hint}", file=sys.stderr)


@contextmanager
def rejects_in(path: Path | None) -> Iterator[Rejects]:
    """Collect the rejects of one run in a new file, or only show them.

    Raises:
        SettingsInvalid: the file exists, or cannot be written.
    """
    if path is None:
        yield Rejects(None)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsInvalid(f"--rejects: expected a new file that can be written, found: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
        yield Rejects(file)


def _entry(record: Record) -> object:
    """Return the record as JSON; as text if it is none, and null if it is too long."""
    if record.line is None:
        return None
    try:
        return json.loads(record.line)
    except (ValueError, RecursionError):
        return record.line.decode("utf-8", "replace").rstrip("\r\n")
