"""Compares rows of tables with the state that the leaves of a log describe. No I/O: the caller provides the rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import field
from typing import Any, Protocol

from vsqlvault.model.entry import Entry
from vsqlvault.proof.entry_records import counter_differences, entry_differences
from vsqlvault.proof.state_replay import HASHED, ReplayedState, differences
from vsqlvault.quick_dataclass import dataclass

ARCHIVES = "log_archives"
ENTRIES = "entries"
UNREADABLE = "the row cannot be decoded"
_TEXT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
"""Writes a document as it is in ``new_value``."""


@dataclass(frozen=True, slots=True, order=True)
class StateFinding:
    """A difference: the table, the key of the row, the leaf that says otherwise (None: no leaf created the row), and what."""

    table: str
    key: str
    leaf: int | None = field(compare=False)
    what: str

    def __str__(self) -> str:
        return f"{self.table}, {self.key}: {self.what}" + ("" if self.leaf is None else f" (leaf {self.leaf})")


class TableSink(Protocol):
    """Takes the rows of all tables."""

    def row(self, table: str, key: str, found: Mapping[str, Any]) -> None:
        """Take a row of any table but ``entries``: its key, and its members as the leaves have them."""
        ...

    def entry(self, entry: Entry) -> None:
        """Take a row of the table ``entries``."""
        ...

    def unreadable(self, table: str, key: str) -> None:
        """Take a row that cannot be decoded."""
        ...

    def find(self, table: str, key: str, leaf: int | None, what: str) -> None:
        """Take a fault that the row alone shows."""
        ...

    def end_of(self, table: str) -> None:
        """Take the end of a table."""
        ...


class TableCheck:
    """Compares each row with its leaf, which is then used up: ``state`` is changed.

    ``uncertain`` are table and key of rows that changed while the tables were read. They are not compared, and ``skipped``
    counts them.
    """

    def __init__(self, state: ReplayedState, uncertain: Set[tuple[str, str]] = frozenset()) -> None:
        self._state = state
        self._uncertain = uncertain
        self._skipped: set[tuple[str, str]] = set()
        self.findings: list[StateFinding] = []

    @property
    def skipped(self) -> int:
        """The number of rows that were not compared."""
        return len(self._skipped)

    def find(self, table: str, key: str, leaf: int | None, what: str) -> None:
        """See ``TableSink.find``."""
        if (table, str(key)) in self._uncertain:
            self._skipped.add((table, str(key)))
        else:
            self.findings.append(StateFinding(table, str(key), leaf, what))

    def unreadable(self, table: str, key: str) -> None:
        """See ``TableSink.unreadable``."""
        if table == ENTRIES:
            purpose, _, external_id = key.partition("/")
            known = self._state.entries.pop(purpose, external_id)
            self.find(table, key, known.index if known else None, UNREADABLE)
            return
        said = self._state.rows.get(table, {}).pop(key, None)
        self.find(table, key, said.index if said else None, UNREADABLE)

    def row(self, table: str, key: str, found: Mapping[str, Any]) -> None:
        """See ``TableSink.row``."""
        recorded = self._state.rows.get(table, {})
        said = recorded.pop(key, None)
        if said is None and "version" in found:
            text = _TEXT.encode({name: value for name, value in found.items() if name != "dropped"}).encode()
            if recorded.pop(HASHED + hashlib.sha256(text).hexdigest(), None) is not None:
                return
        if said is None:
            self.find(table, key, None, "no leaf created this row")
            return
        if "digest_sha256" not in said.members:  # a leaf of an earlier version
            found = {name: value for name, value in found.items() if name != "digest_sha256"}
        for member, what in differences(said, found):
            self.find(table, key, said.index, f"{member} {what}")

    def entry(self, entry: Entry) -> None:
        """See ``TableSink.entry``."""
        key, name = entry.key, f"{entry.purpose}/{entry.external_id}"
        purged = self._state.overwritten.get(*key)
        if purged is not None and purged.entry_id != entry.entry_id:
            purged = None
        said = self._state.entries.pop(*key)
        if type(entry.value_size) is not int:
            self.find(ENTRIES, name, said.index if said else None, "value_size is not a number of bytes")
        if entry.purged_at is not None:
            if purged is None:
                self.find(ENTRIES, name, said.index if said else None, "no leaf purged this entry")
        elif said is None:
            leaf, what = (purged.index, "it was purged") if purged else (None, "no leaf stored this entry")
            self.find(ENTRIES, name, leaf, what)
        else:
            for what in counter_differences(entry, said.counted if said.entry_id == entry.entry_id else 0):
                self.find(ENTRIES, name, None, what)
            differing, moved = entry_differences(entry, said), self._state.moved.get(key)
            if differing and moved is not None and not entry_differences(entry, moved):
                return
            for what in differing:
                self.find(ENTRIES, name, said.index, what)

    def end_of(self, table: str) -> None:
        """Find the rows that leaves created and that the table does not have."""
        if table == ENTRIES:
            for purpose, external_id, known in self._state.entries:
                self.find(ENTRIES, f"{purpose}/{external_id}", known.index, "the row is missing")
            return
        for key, said in self._state.rows.get(table, {}).items():
            self.find(table, key, said.index, "the row is missing")
