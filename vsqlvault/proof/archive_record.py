"""Archives of the log: the rows of closed entry bundles that an archive outside the vault has. No I/O.

A row ``archive-log`` records each archive. Its ``new_value`` is the document of ``ArchiveRecord``. From then on the vault may
drop the rows of these leaves; their hashes stay in the tree.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vsqlvault.model.times import format_time, stored_time
from vsqlvault.proof.leaf import granted_row
from vsqlvault.proof.tiles import WIDTH
from vsqlvault.quick_dataclass import dataclass

OPERATION = "archive-log"
DROPPED_OPERATIONS = frozenset({
    "store", "update", "import", "retrieve", "inspect", "list", "purge", "authenticate", "read-access-policy",
    "read-retention-policy", "preview-retention-policy", "read-api-key", "explain-access", "replay-access-policy",
    "read-legal-hold", "read-access-log", "read-purge-log", "read-key-refs", "read-report", "read-transparency-log",
    "read-receipt", "read-controls", "read-attestation", "sign-in", "sign-out", "read-sessions", "end-session",
    "read-page", "submit-page", "unknown",
})  # fmt: skip
"""The operations of which archived rows are dropped. Granted rows of every other one stay: the state of the vault follows
from them. The list never changes, because the digests of recorded archives depend on it. The storages have it too."""

_OPERATION = re.compile(rb'"operation":"([a-z-]+)","outcome":"([a-z]+)"')
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ArchiveInvalid(ValueError):
    """A document does not describe an archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRecord:
    """What is recorded of an archive: the leaves from ``first`` up to, but not including, ``end``.

    ``kept_rows`` and ``kept_sha256`` describe the leaves among them that ``is_kept`` selects. ``checkpoint_size`` is that of
    the checkpoint in the archive. ``place`` is where the archive was written. ``period_days`` is the configured age of rows.
    """

    number: int
    first: int
    end: int
    access_rows: int
    purge_rows: int
    newest_row_at: datetime
    kept_rows: int
    kept_sha256: str
    checkpoint_size: int
    manifest_sha256: str
    place: str
    period_days: float

    @property
    def document(self) -> dict[str, Any]:
        """The record as JSON types."""
        found = {name: getattr(self, name) for name in _NAMES}
        return {**found, "newest_row_at": format_time(self.newest_row_at)}

    @property
    def text(self) -> str:
        """The record as the ``new_value`` of its row."""
        return json.dumps(self.document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    @classmethod
    def parse(cls, text: object) -> ArchiveRecord:
        """Return the record in a ``new_value``. Raises ArchiveInvalid."""
        try:
            document = json.loads(str(text))
            fields = {name: _checked(name, document[name]) for name in _NAMES}
            made = cls(**fields)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArchiveInvalid("expected the record of an archive") from error
        if not 0 <= made.first < made.end <= made.checkpoint_size or made.first % WIDTH or made.end % WIDTH:
            raise ArchiveInvalid("expected an archive of whole entry bundles, under its checkpoint")
        return made

    def __contains__(self, index: int) -> bool:
        return self.first <= index < self.end


_KINDS: Mapping[str, type] = {
    **dict.fromkeys((
        "number", "first", "end", "access_rows", "purge_rows", "kept_rows", "checkpoint_size",
    ), int),
    "newest_row_at": datetime, "kept_sha256": str, "manifest_sha256": str, "place": str, "period_days": float,
}  # fmt: skip
_NAMES = tuple(sorted(_KINDS))


def _checked(name: str, value: Any) -> Any:
    kind = _KINDS[name]
    if kind is datetime:
        return stored_time(value)
    if kind is float and type(value) is int:
        return value
    if type(value) is not kind or (name.endswith("sha256") and not _SHA256.fullmatch(str(value))):
        raise TypeError(f"{name}: expected {kind.__name__}")
    return value


class KeptDigest:
    """Counts and hashes the leaves that stay in the vault when the others of an archive are dropped."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def take(self, leaf: bytes, leaf_hash: bytes) -> None:
        """Take the next leaf of the archive."""
        if is_kept(leaf):
            self.rows += 1
            self._hash.update(leaf_hash)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the hashes of the leaves that stay, one after the other."""
        return self._hash.hexdigest()


def is_kept(leaf: bytes) -> bool:
    """Whether the row of a leaf stays in the vault when its archive is dropped, whatever entries exist."""
    found = _OPERATION.search(leaf) if leaf.startswith(b'{"access":') else None
    if found is None or found[1].decode() in DROPPED_OPERATIONS:
        return False
    return found[2] == b"granted" or found[1] == b"sweep"


def archive_in(leaf: bytes) -> str | None:
    """Return the ``new_value`` of a granted ``archive-log`` row; None for any other leaf."""
    row = granted_row(leaf, OPERATION)
    return None if row is None or "new_value" not in row else str(row["new_value"])
