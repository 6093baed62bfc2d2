"""Counts the logs block by block as rows enter the transparency log."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from vsqlvault.model.transparency import LogName
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.sql import tree
from vsqlvault_plugins.storage.sql.dialect import SQLITE
from vsqlvault_plugins.storage.sql.log_counts import BLOCK_ROWS, LOG_COUNTS
from vsqlvault_plugins.storage.sql.reading import fetch, fetch_value
from vsqlvault_plugins.storage.sql_files import load_queries
from vsqlvault_plugins.storage.sqlite.answers import answer
from vsqlvault_plugins.storage.sqlite.transactions import transaction

TALLIES = load_queries("vsqlvault_plugins.storage.sqlite", "tallies.sql")
_KINDS: Mapping[LogName, Sequence[str]] = {
    LogName.ACCESS: ("access_tallies", "access_day_tallies"),
    LogName.PURGE: ("purge_tallies", "purge_day_tallies", "purged_key_tallies", "lag_tallies"),
}


@dataclass(frozen=True, slots=True)
class Block:
    """The counts of one block, by the statement that stores them."""

    log: LogName
    number: int
    first_at: int | None
    last_at: int | None
    tallies: Mapping[str, Sequence[Any]]


def next_block(connection: sqlite3.Connection, log: LogName) -> Block | None:
    """Count the next block. Return None if its last rows are not in the transparency log yet."""
    with transaction(connection, "begin_read"):
        number = answer(connection, fetch_value(LOG_COUNTS["next_block"], log=log.value))
        last = (number + 1) * BLOCK_ROWS
        if answer(connection, tree.sequenced(log)) < last:
            return None
        which = {"block": number, "before": last - BLOCK_ROWS, "last": last}
        first_at, last_at = connection.execute(TALLIES["block_span"].format(log=log.value), which).fetchone()
        tallies = {kind: answer(connection, fetch(LOG_COUNTS[kind], **which)) for kind in _KINDS[log]}
        return Block(log, number, first_at, last_at, tallies)


def keep_block(connection: sqlite3.Connection, block: Block) -> None:
    """Store a block's counts, unless another process has done so."""
    with transaction(connection, "begin_write"):
        row = (block.log.value, block.number, block.first_at, block.last_at)
        if connection.execute(TALLIES["put_block"], row).rowcount == 1:
            for kind, tallies in block.tallies.items():
                if tallies:
                    places = ", ".join("?" for _ in tallies[0])
                    put = f"{SQLITE.render(LOG_COUNTS[f'put_{kind}']).sql} VALUES ({places})"
                    connection.executemany(put, tallies)
