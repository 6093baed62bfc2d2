"""Finds when keys were used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from vsqlvault_plugins.storage.sql.counted_entries import EntryCounts
from vsqlvault_plugins.storage.sql.evidence import KeyUses
from vsqlvault_plugins.storage.sql.reading import Reading, fetch
from vsqlvault_plugins.storage.sql.rows import SQLITE_ROWS
from vsqlvault_plugins.storage.sql_files import load_queries

COUNTS = load_queries("vsqlvault_plugins.storage.sqlite", "entry_counts.sql")


def key_uses(counts: EntryCounts, as_of: datetime) -> Reading[KeyUses]:
    """Return the use of each listed key."""
    found: KeyUses = []
    for name, policies in counts.listed_keys().items():
        used: list[Any] = []
        for policy in policies:
            where = {"policy": policy, "purpose": name[0], "key_ref": name[1], "as_of": as_of}
            for which in ("key_first_used", "key_last_used"):
                used += yield from fetch(COUNTS[which], **where)
        found.append((name[0], counts.key_use(name, policies, [SQLITE_ROWS.time(row[0]) for row in used])))
    return found
