"""Writes a long log straight into the tables of SQLite: rows, leaves, tiles, checkpoints and counts, as the vault would.

Ten million rows take minutes. Without the indexes and triggers, which are made again at the end, a row costs no search.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vsqlvault.interfaces.tree_storage import TreeGrowth
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.model.times import format_time
from vsqlvault.model.transparency import Checkpoint, LogName, RowPlace, TileKey
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.tiles import Edge
from vsqlvault_plugins.storage.sqlite import tallies
from vsqlvault_plugins.storage.sqlite.rows import row_of_access, row_of_purge
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction
from vsqlvault_plugins.storage.sqlite.tree import INCARNATION, grow_tree

BATCH, PURGE_EACH, ENTRIES = 25_600, 20, 100_000
STEP = timedelta(milliseconds=1)
TABLES = ("access_log", "purge_log", "leaves", "tiles")
BETWEEN_SECONDS = 0.05


class LogWriter:
    """Appends rows to the log of a vault that no process has open."""

    def __init__(self, connection: sqlite3.Connection, key: SigningKey) -> None:
        self._connection = connection
        self._key = key
        (size,) = connection.execute("SELECT coalesce(max(leaf_index) + 1, 0) FROM leaves").fetchone()
        wanted = [each for each in Edge.keys(size) if each]
        self._edge = Edge.of(size, {each: self._tile(each) for each in wanted})
        self._positions = {log: self._newest(log) for log in LogName}

    def append(self, first: int, count: int, at: datetime) -> None:
        """Write ``count`` rows from the number ``first`` on: retrievals of many entries, and a purge for each twentieth."""
        purges = count // PURGE_EACH
        access = [_access(number, at + STEP * number) for number in range(first, first + count - purges)]
        gone = [_purge(number, at + STEP * number) for number in range(first + count - purges, first + count)]
        rows = [row_of_access(record) for record in access]
        rows_of_purges = [row_of_purge(record) for record in gone]
        with transaction(self._connection, "begin_write"):
            self._connection.executemany(QUERIES["put_access_row"], rows)
            self._connection.executemany(QUERIES["put_purge_row"], rows_of_purges)
        hashes = [row[-2] for row in rows] + [row[-1] for row in rows_of_purges]
        places = [*self._places(LogName.ACCESS, len(rows)), *self._places(LogName.PURGE, len(gone))]
        size = self._edge.size
        self._edge, changed = self._edge.grown(hashes)
        grow_tree(self._connection, TreeGrowth(size, places, changed, None, INCARNATION))

    def sign(self) -> None:
        """Sign the tree as it is now."""
        head = TreeHead(self._key.verifier.name, self._edge.size, self._edge.root())
        note = sign_checkpoint(head, self._key.signer)
        made = Checkpoint(head.origin, head.size, head.root, note, datetime.now(UTC))
        grow_tree(self._connection, TreeGrowth(head.size, [], {}, made, INCARNATION))

    def _tile(self, key: TileKey) -> bytes:
        row = self._connection.execute(QUERIES["tile"], (key.level, key.index)).fetchone()
        return bytes(row[0]) if row else b""

    def _newest(self, log: LogName) -> int:
        (newest,) = self._connection.execute(f"SELECT coalesce(max(position), 0) FROM {log.value}_log").fetchone()
        return int(newest)

    def _places(self, log: LogName, count: int) -> Iterator[RowPlace]:
        first = self._positions[log] + 1
        self._positions[log] += count
        return (RowPlace(log, position) for position in range(first, first + count))


def generate(database: Path, key: SigningKey, rows: int, parts: int, old: timedelta, young: timedelta) -> list[str]:
    """Write nine tenths of the rows with the age ``old``, and the rest with ``young``.

    The old rows are signed in ``parts``. Return a time after the checkpoint of each part, and before the next.
    The database has its schema, every row of its log is a leaf, and no process has it open.
    """
    now, of_old, between = datetime.now(UTC), rows * 9 // 10, list[str]()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection, _in_bulk(connection):
        writer = LogWriter(connection, key)
        ends = [of_old * (part + 1) // parts for part in range(parts)]
        for begin, end in zip([0, *ends], ends, strict=False):
            for first in range(begin, end, BATCH):
                writer.append(first, min(BATCH, end - first), now - old)
            writer.sign()
            time.sleep(BETWEEN_SECONDS)
            between.append(format_time(datetime.now(UTC)))
            time.sleep(BETWEEN_SECONDS)
        for first in range(of_old, rows, BATCH):
            writer.append(first, min(BATCH, rows - first), now - young - STEP * rows)
        writer.sign()
    return between


@contextmanager
def _in_bulk(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block without indexes and triggers of the tables. They are made again after it, and the log is counted."""
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    places = ", ".join("?" for _ in TABLES)
    made = connection.execute(
        f"SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('index', 'trigger')"
        f" AND tbl_name IN ({places}) ORDER BY type",
        TABLES,
    ).fetchall()
    for kind, name, _ in made:
        connection.execute(f"DROP {kind} {name}")
    yield
    for _, _, sql in made:
        connection.execute(sql)
    for log in LogName:
        while block := tallies.next_block(connection, log):
            tallies.keep_block(connection, block)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()


def _access(number: int, at: datetime) -> AccessRecord:
    return AccessRecord(
        at=at, request_id=f"{number:032x}", operation=Operation.RETRIEVE, outcome=Outcome.GRANTED, status=200,
        purpose="card", external_id=f"payment-{number * 7_919 % ENTRIES}", app="payments", method="api-key",
        credential_id="sha256:0123456789ab", client_address="192.0.2.7", policy="owner-only", policy_version=1,
    )  # fmt: skip


def _purge(number: int, at: datetime) -> PurgeRecord:
    name = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()
    return PurgeRecord(
        purge_id=name, purpose="card", external_id=f"gone-{number}", entry_id=name, entry_version=1,
        method="physical-delete", reason=PurgeReason.EXPIRED, policy_reference=None, proof_hash=name * 2, value_size=64,
        key_ref="akv:k", owner_app="payments", purged_at=at, expired_at=at - STEP, app="vsqlvault", identity=None,
        request_id=name,
    )  # fmt: skip
