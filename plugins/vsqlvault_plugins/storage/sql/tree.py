"""Reads of the transparency log: leaves with their rows, and checkpoints."""

from __future__ import annotations

from typing import Any

from vsqlvault.errors import Unavailable
from vsqlvault.interfaces.storage import LogRow
from vsqlvault.interfaces.tree_storage import LeafRow
from vsqlvault.model.transparency import LogName, RowPlace
from vsqlvault.proof.leaf import row_hash
from vsqlvault_plugins.storage.sql.dialect import QUERIES
from vsqlvault_plugins.storage.sql.reading import Reading, fetch, fetch_value
from vsqlvault_plugins.storage.sql.rows import Rows

_FIRST_POSITION, _LAST_POSITION = -(2**63), 2**63 - 1


def tree_size() -> Reading[int]:
    """Return the number of leaves with an index."""
    return fetch_value(QUERIES["tree_size"])


def sequenced(log: LogName) -> Reading[int]:
    """Return the highest position of a log's leaves."""
    return fetch_value(QUERIES[f"sequenced_{log.value}"])


def hashes_between(rows: Rows, log: LogName, first: int, last: int) -> Reading[dict[int, bytes]]:
    """Return the leaf hash of each row between two positions, computed from the row."""
    query = QUERIES.with_parts(
        f"{log.value}_log_page", filters=QUERIES["log_between"], order=QUERIES["log_order_oldest_first"]
    )
    found = yield from fetch(query, first=first, last=last, limit=last - first + 1)
    return {row.position: row_hash(row.record) for row in (_log_row_of(rows, log, row) for row in found)}


def _log_row_of(rows: Rows, log: LogName, row: Any) -> LogRow[Any]:
    return rows.access_row_of(row) if log is LogName.ACCESS else rows.purge_row_of(row)


def leaf_rows(rows: Rows, first: int, count: int) -> Reading[list[LeafRow]]:
    """Return leaves with their rows."""
    found: list[LeafRow] = []
    for log in LogName:
        leaves = yield from fetch(QUERIES[f"{log.value}_leaves"], first=first, end=first + count)
        found += [_leaf_row(rows, log, tuple(row)) for row in leaves]
    return sorted(found, key=lambda leaf: leaf.index)


def _leaf_row(rows: Rows, log: LogName, row: tuple[Any, ...]) -> LeafRow:
    record = None
    if row[3] is not None:
        try:
            record = _log_row_of(rows, log, row[3:]).record
        except Unavailable:  # decoding logs it; for a verifier it is a leaf without its row
            record = None
    position = row[1] if isinstance(row[1], int) else 0  # of another type: there is no such row
    return LeafRow(row[0], RowPlace(log, position), record, row[2])


def purge_index(purge_id: str) -> Reading[int | None]:
    """Return the index of the leaf of a purge."""
    return fetch_value(QUERIES["purge_index"], purge_id=purge_id)


def row_positions(log: LogName, after: int | None, until: int | None, limit: int) -> Reading[list[int]]:
    """Return positions of a log's rows."""
    found = yield from fetch(
        QUERIES.with_parts("row_positions", log=log.value),
        after=_FIRST_POSITION if after is None else after,
        until=_LAST_POSITION if until is None else until,
        limit=limit,
    )
    return [row[0] for row in found]
