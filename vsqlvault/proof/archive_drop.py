"""Records of drops: which archived rows a run has deleted from the vault, and who ran it. No I/O.

A drop has two rows ``drop-archived``: one before the first row is deleted, and one with the count at the end.
"""

from __future__ import annotations

import json
from typing import Any

from vsqlvault.proof.leaf import granted_row
from vsqlvault.quick_dataclass import dataclass

OPERATION = "drop-archived"
BEGUN, ENDED = "begun", "ended"


class DropInvalid(ValueError):
    """A document does not describe a drop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRecord:
    """What is recorded of a drop of the rows of one archive.

    ``state``: ``begun`` or ``ended``. ``min_days`` is the age that the newest row must have, and ``min_days_from`` whether it
    is the ``default`` or from the ``settings``. ``operator`` is the account and the host of the command. ``absent_rows`` is
    the number of rows of the archive that are no longer in the vault; 0 when the drop begins.
    """

    archive: int
    first: int
    end: int
    manifest_sha256: str
    state: str
    min_days: int
    min_days_from: str
    operator: str
    absent_rows: int = 0

    @property
    def text(self) -> str:
        """The record as the ``new_value`` of its row."""
        document = {name: getattr(self, name) for name in _KINDS}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    @classmethod
    def parse(cls, text: object) -> DropRecord:
        """Return the record in a ``new_value``. Raises DropInvalid."""
        try:
            document = json.loads(str(text))
            fields: dict[str, Any] = {name: document[name] for name in _KINDS}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DropInvalid("expected the record of a drop") from error
        if any(type(fields[name]) is not kind for name, kind in _KINDS.items()):
            raise DropInvalid("expected the record of a drop")
        return cls(**fields)


_KINDS: dict[str, type] = {
    **dict.fromkeys(("archive", "first", "end", "min_days", "absent_rows"), int),
    **dict.fromkeys(("manifest_sha256", "state", "min_days_from", "operator"), str),
}


def drop_in(leaf: bytes) -> DropRecord | None:
    """Return the record in a granted row ``drop-archived``; None for any other leaf."""
    row = granted_row(leaf, OPERATION)
    try:
        return DropRecord.parse(row["new_value"]) if row else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
