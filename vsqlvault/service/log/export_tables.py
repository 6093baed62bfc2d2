"""The tables in an export of the log: written as lines of JSON, and compared again with the leaves of the export.

docs/audit-log.md publishes the format.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.entry import Entry, ValueEncoding
from vsqlvault.model.times import format_time, stored_time
from vsqlvault.proof.entry_records import MAX_COUNTED
from vsqlvault.proof.state_replay import StateReplay
from vsqlvault.proof.table_check import ENTRIES, StateFinding, TableCheck
from vsqlvault.service.log.state_check import StateResult, TableReader
from vsqlvault.service.log.verification import StorageSource

TABLES = (
    "access_policies",
    "retention_policies",
    "legal_holds",
    "api_keys",
    "control_changes",
    "attestations",
    "access_reviews",
    "sweeps",
    "log_archives",
    ENTRIES,
)
ANOMALIES, WAITING = "anomalies", "waiting"
MEMBERS = (*TABLES, ANOMALIES, WAITING)
MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_FINDINGS = 10_000
_TIMES = ("created_at", "updated_at", "expires_at")
_TEXTS = ("purpose", "external_id", "entry_id", "value_sha256", "metadata", "owner_app", "access_policy")
_OPTIONAL = ("algorithm_hint", "key_ref", "owner_identity")


def member_name(table: str) -> str:
    """Return the name of a member in the export."""
    return f"tables/{table}.ndjson"


class TableWriter:
    """Writes the rows of all tables to temporary files, and then to the export."""

    def __init__(self, files: Mapping[str, IO[bytes]]) -> None:
        self._files = files
        self.counts = dict.fromkeys(files, 0)

    def row(self, table: str, key: str, found: Mapping[str, Any]) -> None:
        """See ``TableSink.row``."""
        self._write(table, {"key": key, "row": found})

    def entry(self, entry: Entry) -> None:
        """See ``TableSink.entry``."""
        self._write(ENTRIES, {"key": f"{entry.purpose}/{entry.external_id}", "row": _entry_row(entry)})

    def unreadable(self, table: str, key: str) -> None:
        """See ``TableSink.unreadable``."""
        self._write(ANOMALIES, {"table": table, "key": key, "what": None})

    def find(self, table: str, key: str, leaf: int | None, what: str) -> None:
        """See ``TableSink.find``."""
        self._write(ANOMALIES, {"table": table, "key": str(key), "leaf": leaf, "what": what})

    def end_of(self, table: str) -> None:
        """See ``TableSink.end_of``."""

    def leaf(self, leaf: bytes) -> None:
        """Write the leaf of a row that is not in the tree yet."""
        self._files[WAITING].write(leaf + b"\n")
        self.counts[WAITING] += 1

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        self._files[name].write(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self.counts[name] += 1


@contextmanager
def table_files(directory: Path) -> Iterator[dict[str, IO[bytes]]]:
    """Open a temporary file for each member."""
    files: dict[str, IO[bytes]] = {}
    try:
        for name in MEMBERS:
            files[name] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed below
        yield files
    finally:
        for file in files.values():
            file.close()


async def read_tables(writer: TableWriter, storage: Storage, source: StorageSource, replay: StateReplay) -> None:
    """Read the tables, and then the rows that are not in the tree: what they name may have changed meanwhile.

    ``replay`` has taken all leaves of the tree. Raises StorageUnavailable.
    """
    await TableReader(storage, replay.state, writer).run()
    async for leaf in source.tail():
        writer.leaf(leaf)
    for log, position, what in source.unlike:
        writer.find(f"{log.value}_log", f"position {position}", None, what)


def put_tables(archive: zipfile.ZipFile, files: Mapping[str, IO[bytes]], member: Any) -> None:
    """Copy the temporary files into the export. ``member`` makes the description of a member of this name."""
    for name, file in files.items():
        file.seek(0)
        with archive.open(member(member_name(name)), "w", force_zip64=True) as target:
            shutil.copyfileobj(file, target)


def check_tables(lines: Callable[[str], Iterator[bytes]], replay: StateReplay, size: int) -> StateResult:
    """Compare the tables of an export with its leaves, which ``replay`` has taken: ``size`` of them.

    Rows that a waiting row names changed while the file was written, or may have: they are not compared.

    Raises:
        ExportUnreadable.
    """
    uncertain: set[tuple[str, str]] = set()
    replay.touched = uncertain
    for leaf in lines(WAITING):
        replay.take(size, leaf.rstrip(b"\n"), is_waiting=True)
    replay.touched = None
    entries = len(replay.state.entries)
    check = TableCheck(replay.state, uncertain)
    for table in TABLES:
        for number, line in enumerate(lines(table), start=1):
            _take(check, table, number, line)
    for line in lines(ANOMALIES):
        _anomaly(check, line)
    for table in TABLES:
        check.end_of(table)
    return StateResult(sorted(set(check.findings))[:MAX_FINDINGS], entries, 0, check.skipped)


def _take(check: TableCheck, table: str, number: int, line: bytes) -> None:
    try:
        document = json.loads(line)
        key, row = document["key"], document["row"]
        if not isinstance(row, dict):
            raise TypeError("expected an object")
        if table == ENTRIES:
            check.entry(_entry(row))
        else:
            check.row(table, str(key), row)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        check.findings.append(StateFinding(table, f"line {number}", None, "malformed"))


def _anomaly(check: TableCheck, line: bytes) -> None:
    try:
        found = json.loads(line)
        table, key, what = str(found["table"]), str(found["key"]), found["what"]
        if what is None:
            check.unreadable(table, key)
        else:
            leaf = found.get("leaf")
            check.find(table, key, leaf if type(leaf) is int else None, str(what))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        check.findings.append(StateFinding(ANOMALIES, "a line", None, "malformed"))


def _entry_row(entry: Entry) -> dict[str, Any]:
    """Return an entry without its value. ``metadata`` is the text of the column."""
    row: dict[str, Any] = {name: getattr(entry, name) for name in (*_TEXTS, *_OPTIONAL)}
    row |= {name: format_time(getattr(entry, name)) for name in _TIMES}
    row |= {"version": entry.version, "value_size": entry.value_size, "encoding": entry.encoding.value}
    row |= {"retrievals": entry.retrievals}
    return row | ({} if entry.purged_at is None else {"purged_at": format_time(entry.purged_at)})


def _entry(row: Mapping[str, Any]) -> Entry:
    """Return the entry of a line. Raises KeyError, TypeError, ValueError."""
    texts: Sequence[Any] = [row[name] for name in _TEXTS]
    optional = [row[name] for name in _OPTIONAL]
    if not all(isinstance(each, str) for each in texts) or not all(isinstance(each, str | None) for each in optional):
        raise TypeError("expected texts")
    return Entry(
        **dict(zip((*_TEXTS, *_OPTIONAL), [*texts, *optional], strict=True)),
        created_at=stored_time(row["created_at"]),
        updated_at=stored_time(row["updated_at"]),
        expires_at=stored_time(row["expires_at"]),
        version=int(row["version"]),
        value_size=row["value_size"],
        encoding=ValueEncoding(row["encoding"]),
        retrievals=row.get("retrievals", MAX_COUNTED),  # an export of an earlier version does not have the counter
        purged_at=stored_time(row["purged_at"]) if "purged_at" in row else None,
    )
