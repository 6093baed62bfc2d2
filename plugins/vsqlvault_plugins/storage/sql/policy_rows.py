"""Makes a policy snapshot of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from vsqlvault.errors import Unavailable
from vsqlvault.interfaces.storage import PolicySnapshot, RulesUnreadable
from vsqlvault_plugins.storage.sql.decoding import Row
from vsqlvault_plugins.storage.sql.rows import Rows

Rule = TypeVar("Rule")


def snapshot_of(
    revision: int,
    access: Sequence[Row],
    retention: Sequence[Row],
    api_keys: Sequence[Row],
    holds: Sequence[Row],
    decoders: Rows,
) -> PolicySnapshot:
    """Return the snapshot of the newest rows, each of which begins with its name and its version.

    Raises:
        Unavailable: rows cannot be decoded. The cause is a RulesUnreadable.
    """
    unreadable: list[tuple[str, str]] = []

    def decoded(table: str, rows: Sequence[Row], decode: Callable[[Row], Rule]) -> dict[Any, Rule]:
        found: dict[Any, Rule] = {}
        for row in rows:
            try:
                found[row[0]] = decode(row)
            except Unavailable:
                unreadable.append((table, str(row[0]) if table == "api_keys" else f"{row[0]} v{row[1]}"))
        return found

    snapshot = PolicySnapshot(
        revision,
        decoded("access_policies", [row for row in access if not row[8]], decoders.access_policy_of),
        decoded("retention_policies", retention, decoders.retention_policy_of),
        {str(row[0]): row[1] for row in access},
        decoded("api_keys", api_keys, decoders.api_key_of),
        decoded("legal_holds", holds, decoders.legal_hold_of),
    )
    if unreadable:
        raise Unavailable("a stored row cannot be decoded") from RulesUnreadable(snapshot, unreadable)
    return snapshot
