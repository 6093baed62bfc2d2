"""Rebuilds the state of a vault from the leaves of its log. No I/O: the caller provides the leaves.

The state is the versions of all policies, legal holds and API keys, the recorded changes of controls, the attestations, the
access reviews, the sweeps, the archives, and the entries. docs/audit-log.md publishes which leaf says what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from datetime import timedelta
from typing import Any

from vsqlvault.model.entry import EntryKey
from vsqlvault.proof.entry_records import EntryRecords, RecordedEntry
from vsqlvault.proof.entry_statement import COUNTED_MARK, is_counted, statement_in
from vsqlvault.proof.entry_statement import MARK as MOVED
from vsqlvault.quick_dataclass import dataclass

REPLACE = "replace"
_STATEFUL = re.compile(
    rb'"operation":"(?:store|update|import|sweep|change-access-policy|delete-access-policy|change-retention-policy|create-api-key'
    rb'|revoke-api-key|change-legal-hold|release-legal-hold|control-failed|control-recovered|attest|review-access|archive-log)"'
)
_RULES = {
    "change-access-policy": ("access_policies", "name"),
    "change-retention-policy": ("retention_policies", "purpose"),
    "change-legal-hold": ("legal_holds", "name"),
    "release-legal-hold": ("legal_holds", "name"),
}
_NUMBERED = {"attest": "attestations", "review-access": "access_reviews", "archive-log": "log_archives"}
"""Operations that make a numbered document, which the row has, or its digest, and their tables."""

_SWEEP = re.compile(r"sweep (\w+): (\d+) purged, (\d+) failed(?:, (\d+) held)?(, not completed)?")
TOGETHER = timedelta(seconds=10)
"""Retrievals whose expiries differ by at most this may have been committed in the other order."""
HASHED = "sha256:"
"""Begins the key of a row of which the leaf has only the hash of the text."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a leaf says about one row of a table: the members, by name. ``at`` is the time of the leaf."""

    index: int
    members: dict[str, Any]
    at: str = ""


@dataclass(slots=True)
class ReplayedState:
    """The state that the leaves describe. A key of ``rows`` is a table, and the key of its row as text: ``card v3``."""

    rows: dict[str, dict[str, Recorded]] = field(default_factory=dict)
    entries: EntryRecords = field(default_factory=EntryRecords)
    overwritten: EntryRecords = field(default_factory=EntryRecords)
    """Entries whose value was purged. Their row may remain, with ``purged_at``."""
    moved: dict[tuple[str, str], RecordedEntry] = field(default_factory=dict)
    """Entries that two retrievals moved at about the same time, as the other one moved them."""

    def copy(self) -> ReplayedState:
        """Return a copy whose tables change independently."""
        rows = {table: dict(recorded) for table, recorded in self.rows.items()}
        return ReplayedState(rows, self.entries.copy(), self.overwritten, self.moved)


class StateReplay:
    """Takes the leaves in order. A leaf that cannot be read is ignored: the check of the log reports it."""

    def __init__(self) -> None:
        self.state = ReplayedState()
        self.touched: set[tuple[str, str]] | None = None
        """Table and key of every row that a leaf names from when this is a set."""
        self._purged: dict[str, int] = {}
        """Entry ids whose purge came before their store: the two logs are put into the tree in turn."""

    def take(self, index: int, leaf: bytes, *, is_waiting: bool = False) -> None:
        """Take the next leaf. ``is_waiting``: it is not in the tree yet, and to take it again changes nothing."""
        is_purge = leaf.startswith(b'{"purge":')
        if not is_purge and MOVED not in leaf and COUNTED_MARK not in leaf and not _STATEFUL.search(leaf):
            return
        try:
            document = json.loads(leaf)
            if is_purge:
                self._purge(index, document["purge"])
            else:
                self._access(index, document["access"], is_waiting=is_waiting)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return

    def _purge(self, index: int, row: dict[str, Any]) -> None:
        if row["method"] == REPLACE:
            return
        key = EntryKey(row["purpose"], row["external_id"])
        known = self.state.entries.get(*key)
        if known is not None and known.entry_id == row["entry_id"]:
            self.state.entries.pop(*key)
            self.state.moved.pop(key, None)
        else:
            self._purged[row["entry_id"]] = index
        gone = RecordedEntry(index, row["entry_id"], row["entry_version"], row["owner_app"])
        self.state.overwritten.put(*key, gone)
        self._touch("entries", "/".join(key))

    def _access(self, index: int, row: dict[str, Any], *, is_waiting: bool) -> None:
        operation = row["operation"]
        if operation == "sweep":  # also one that ended in an error leaves a row in its table
            self._sweep(index, row)
        elif row["outcome"] != "granted":
            return
        elif operation in {"store", "update"}:
            self._store(index, row, row.get("app"))
        elif operation == "import":
            if "external_id" in row:  # the row that counts a run has none
                self._store(index, row, _document(row["new_value"])["owner_app"])
        elif operation == "retrieve":
            self._retrieve(index, row, is_waiting=is_waiting)
        elif operation in _RULES:
            self._rule(index, row)
        elif operation == "delete-access-policy":
            self._drop(index, row)
        elif "new_value" in row:
            self._record(index, row)

    def _rule(self, index: int, row: dict[str, Any]) -> None:
        table, name = _RULES[row["operation"]]
        if isinstance(row["new_value"], dict):
            self._set(table, HASHED + row["new_value"]["sha256"], index, {}, row)
            return
        document = _document(row["new_value"])
        self._set(table, f"{document[name]} v{document['version']}", index, document, row)

    def _record(self, index: int, row: dict[str, Any]) -> None:
        """Take a row about a key, a control, an attestation, an access review or an archive."""
        document = _document(row["new_value"])
        if (table := _NUMBERED.get(row["operation"])) is not None:
            self._set(table, str(document["number"]), index, document, row)
        elif "control" in document:
            self._set("control_changes", f"{document['control']} at {document['at']}", index, document, row)
        else:
            known = self.state.rows.get("api_keys", {}).get(row["detail"])
            self._set("api_keys", row["detail"], index, (known.members if known else {}) | document, row)

    def _store(self, index: int, row: dict[str, Any], owner_app: str | None) -> None:
        key, entry_id = EntryKey(row["purpose"], row["external_id"]), row.get("entry_id")
        if entry_id is None or entry_id in self._purged:
            return
        version: int = row["entry_version"]
        known = self.state.entries.get(*key)
        is_same = known is not None and known.entry_id == entry_id
        if is_same and known is not None and version <= known.version:
            return  # the same fields were stored again: there is no new version
        owner = known.owner if is_same and known is not None else owner_app if version == 1 else None
        counted = known.counted if is_same and known is not None else 0
        stated = statement_in(row.get("detail"))
        policy, expires_at, digest = stated or (None, None, None)
        entry = RecordedEntry(index, entry_id, version, owner, policy, expires_at, digest, counted)
        self.state.entries.put(*key, entry)
        self.state.moved.pop(key, None)
        self._touch("entries", "/".join(key))

    def _retrieve(self, index: int, row: dict[str, Any], *, is_waiting: bool) -> None:
        """Take a retrieval that was counted, or that moved the expiry of its entry.

        The counter of an entry continues with its next version. The leaves of two retrievals at about the same time may be in
        another order than their commits.
        """
        key, detail = EntryKey(row["purpose"], row["external_id"]), row.get("detail")
        known = self.state.entries.get(*key)
        if known is None or known.entry_id != row.get("entry_id"):
            return
        if not is_waiting and is_counted(detail):
            known = replace(known, counted=known.counted + 1)
            self.state.entries.put(*key, known)
        stated = statement_in(detail)
        if stated is None or known.digest == stated.digest or known.version != row["entry_version"]:
            return
        is_close = known.expires_at is not None and abs(stated.expires_at - known.expires_at) <= TOGETHER
        if is_close:
            self.state.moved[key] = known
        else:
            self.state.moved.pop(key, None)
        moved = RecordedEntry(index, known.entry_id, known.version, known.owner, *stated, known.counted)
        self.state.entries.put(*key, moved)
        self._touch("entries", "/".join(key))

    def _drop(self, index: int, row: dict[str, Any]) -> None:
        version, name = _document(row["old_value"])["version"] + 1, row["detail"]
        members = {"name": name, "version": version, "dropped": True, "created_by": row["app"], "created_at": row["at"]}
        self._set("access_policies", f"{name} v{version}", index, members, row)

    def _sweep(self, index: int, row: dict[str, Any]) -> None:
        found = _SWEEP.fullmatch(row.get("detail") or "")
        if found:
            sweep_id, purged, failed, held, stopped = found.groups()
            members = {
                "purged": int(purged),
                "failed": int(failed),
                "held": int(held or 0),
                "completed": stopped is None,
            }
            self._set("sweeps", sweep_id, index, members, row)

    def _set(self, table: str, key: str, index: int, members: dict[str, Any], row: dict[str, Any]) -> None:
        self.state.rows.setdefault(table, {})[key] = Recorded(index, members, str(row["at"]))
        self._touch(table, key)

    def _touch(self, table: str, key: str) -> None:
        if self.touched is not None:
            self.touched.add((table, key))


def _document(text: str) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise TypeError("expected an object")
    return document


def differences(said: Recorded, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each member that differs. A member that the leaf does not have is newer than the leaf, and has no value."""
    for member, value in found.items():
        if member in said.members:
            if said.members[member] != value:
                yield member, f"is {value!r}, the log has {said.members[member]!r}"
        elif value and not said.members.get("dropped"):
            yield member, f"is {value!r}, the log has none"
