"""What the row of a store says about the entry: its access policy, its expiry and the hash of all its members.

The text is the end of the row's ``detail``. docs/audit-log.md publishes it. The hash is the one that a purge of this version
proves (``purge_proof``), over the hash of the value and not over the value.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from vsqlvault.model.entry import Entry
from vsqlvault.model.times import format_time, stored_time
from vsqlvault.proof.purge_proof import stored_proof

MARK = b", entry sha256:"
"""Is in the detail of a retrieval that moved the expiry of its entry."""

COUNTED = "retrieval counted"
"""Is a part of the detail of a retrieval that was added to the counter of its entry."""

COUNTED_MARK = COUNTED.encode()

_STATEMENT = re.compile(
    r"(?:.*, )?access policy ([a-z0-9._-]{1,128}), expires ([0-9TZ:.-]{20,27}), entry sha256:([0-9a-f]{64})", re.ASCII
)


class EntryStatement(NamedTuple):
    """What a row says about its entry. ``digest`` is 64 hex digits."""

    access_policy: str
    expires_at: datetime
    digest: str


def state_entry(entry: Entry) -> str:
    """Return the text about an entry that is about to be stored."""
    expires_at = format_time(entry.expires_at)
    return f"access policy {entry.access_policy}, expires {expires_at}, entry sha256:{stored_proof(entry)}"


def is_counted(detail: str | None) -> bool:
    """Return whether the row of a retrieval says that the counter of its entry was increased."""
    return detail is not None and COUNTED in detail.split(", ")


def statement_in(detail: str | None) -> EntryStatement | None:
    """Return what the detail of a row says about its entry. None: rows of versions before 1.1 say nothing.

    Raises:
        ValueError: the time does not exist.
    """
    found = _STATEMENT.fullmatch(detail or "")
    return EntryStatement(found[1], stored_time(found[2]), found[3]) if found else None
