"""Rules and their versions, sweeps, scrubs, controls, attestations, and other small tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from vsqlvault.interfaces.storage import PolicySnapshot, VersionQuery
from vsqlvault.interfaces.watch_storage import PurgesByIdQuery
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.purge import PurgeRecord, SweepRuns
from vsqlvault_plugins.storage.sql.dialect import QUERIES
from vsqlvault_plugins.storage.sql.policy_rows import snapshot_of
from vsqlvault_plugins.storage.sql.reading import Reading, fetch, fetch_one, fetch_value
from vsqlvault_plugins.storage.sql.rows import Rows

Value = TypeVar("Value")
NO_NUMBER = 2**63 - 1
"""Greater than every version and number."""


def decoded(decode: Callable[[Any], Value], name: str, **parameters: Any) -> Reading[list[Value]]:
    """Return all rows of a query as values."""
    found = yield from fetch(QUERIES[name], **parameters)
    return [decode(row) for row in found]


def first_decoded(decode: Callable[[Any], Value], name: str, **parameters: Any) -> Reading[Value | None]:
    """Return the first row of a query as a value, or None."""
    row = yield from fetch_one(QUERIES[name], **parameters)
    return None if row is None else decode(row)


def policy_snapshot(rows: Rows) -> Reading[PolicySnapshot]:
    """Return all policies in force, all API keys and every legal hold."""
    revision = yield from fetch_value(QUERIES["revision"])
    access = yield from fetch(QUERIES["access_policies"])
    retention = yield from fetch(QUERIES["retention_policies"])
    api_keys = yield from fetch(QUERIES["api_keys"])
    holds = yield from fetch(QUERIES["legal_holds"])
    return snapshot_of(revision, access, retention, api_keys, holds, rows)


def revoked_keys() -> Reading[frozenset[str]]:
    """Return the ids of the API keys that rows of the access log revoke."""
    found = yield from fetch(QUERIES["revoked_keys"])
    return frozenset(row[0] for row in found)


def versions(decode: Callable[[Any], Value], name: str, query: VersionQuery) -> Reading[list[Value]]:
    """Return a page of the versions of a policy or a hold, by the query of this name."""
    before = NO_NUMBER if query.before is None else query.before
    return decoded(decode, name, key=query.name, before=before, limit=query.limit)


def sweeps(rows: Rows, since: datetime, until: datetime, limit: int) -> Reading[SweepRuns]:
    """Return a summary of the sweeps of a period."""
    count, purged, failed, not_completed = yield from fetch_one(QUERIES["sum_of_sweeps"], since=since, until=until)
    newest = yield from decoded(rows.sweep_of, "sweeps_between", since=since, until=until, limit=limit)
    return SweepRuns(
        count=count, purged=purged, failed=failed, not_completed=not_completed, newest=tuple(newest)
    )  # fmt: skip


def purges_by_id(rows: Rows, query: PurgesByIdQuery) -> Reading[list[PurgeRecord]]:
    """Return rows of the purge log in the order of their ids."""
    found = yield from decoded(
        rows.purge_row_of, "purges_by_id",
        first_id=query.first_id, since=query.since, until=query.until, limit=query.limit,
    )  # fmt: skip
    return [row.record for row in found]


def cursors() -> Reading[dict[str, int]]:
    """Return every cursor's position."""
    found = yield from fetch(QUERIES["cursors"])
    return {name: int(position) for name, position in found}


def credential_uses(rows: Rows) -> Reading[dict[CredentialName, CredentialUse]]:
    """Return when each credential was used."""
    found = yield from fetch(QUERIES["credential_uses"])
    return {CredentialName(row[0], row[1]): CredentialUse(rows.time(row[2]), rows.time(row[3])) for row in found}
