"""Lists, logs and counts, which may take long and have a connection of their own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse, PurposeStatistics
from vsqlvault.interfaces.storage import (
    ACCESS_LOG_FILTERS,
    PURGE_LOG_FILTERS,
    ClockReading,
    EntryQuery,
    KeyRefQuery,
    LogQuery,
    LogRow,
    PolicySnapshot,
    RetentionLimitChange,
    RetentionLimitEffect,
    VersionQuery,
)
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.entry import Entry
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import EPOCH, from_micros, to_micros
from vsqlvault_plugins.storage.policy_rows import snapshot_of
from vsqlvault_plugins.storage.sqlite import rows
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

THIRTY_DAYS = timedelta(days=30)
NO_VERSION = 2**63 - 1
"""Greater than every version."""


def policy_snapshot(connection: sqlite3.Connection) -> PolicySnapshot:
    """Return all policies in force, all API keys and every legal hold, of one consistent state."""
    with transaction(connection, "begin_read"):
        (revision,) = connection.execute(QUERIES["revision"]).fetchone()
        access = connection.execute(QUERIES["access_policies"]).fetchall()
        retention = connection.execute(QUERIES["retention_policies"]).fetchall()
        api_keys = connection.execute(QUERIES["api_keys"]).fetchall()
        holds = connection.execute(QUERIES["legal_holds"]).fetchall()
    return snapshot_of(revision, access, retention, api_keys, holds, rows)


def revoked_keys(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the ids of the API keys that rows of the access log revoke."""
    return frozenset(row[0] for row in connection.execute(QUERIES["revoked_keys"]))


def access_policy_versions(connection: sqlite3.Connection, query: VersionQuery) -> list[AccessPolicy]:
    """Return a page of an access policy's versions."""
    return [rows.access_policy_of(row) for row in _versions(connection, "access_policy_versions", query)]


def retention_policy_versions(connection: sqlite3.Connection, query: VersionQuery) -> list[RetentionPolicy]:
    """Return a page of a retention policy's versions."""
    return [rows.retention_policy_of(row) for row in _versions(connection, "retention_policy_versions", query)]


def legal_hold_versions(connection: sqlite3.Connection, query: VersionQuery) -> list[LegalHold]:
    """Return a page of a legal hold's versions."""
    return [rows.legal_hold_of(row) for row in _versions(connection, "legal_hold_versions", query)]


def _versions(connection: sqlite3.Connection, name: str, query: VersionQuery) -> list[Any]:
    before = NO_VERSION if query.before is None else query.before
    parameters = {"name": query.name, "before": before, "limit": query.limit}
    return connection.execute(QUERIES[name], parameters).fetchall()


def entries_page(connection: sqlite3.Connection, query: EntryQuery) -> list[Entry]:
    """Return a page of one purpose's entries, without values."""
    filters = [QUERIES[f"entries_where_{query.state.value if query.state else 'any'}"]]
    filters += [
        QUERIES[f"entries_where_{name}"]
        for name in ("key_ref", "owner_app", "access_policy", "expires_before")
        if getattr(query, name) is not None
    ]
    created_before = query.created_before or EPOCH
    expires_before = query.expires_before or EPOCH
    parameters = {
        "purpose": query.purpose,
        "after": query.after or "",
        "limit": query.limit,
        "now": to_micros(query.now),
        "created_before": to_micros(created_before),
        "key_ref": query.key_ref,
        "owner_app": query.owner_app,
        "access_policy": query.access_policy,
        "expires_before": to_micros(expires_before),
        "expires_before_creation": to_micros(expires_before - (query.now - created_before))
        if query.created_before
        else 0,
    }
    sql = QUERIES["entries_page"].format(filters="\n".join(filters))
    return [rows.entry_of(row) for row in connection.execute(sql, parameters)]


def access_log_page(connection: sqlite3.Connection, query: LogQuery) -> list[LogRow[AccessRecord]]:
    """Return a page of the access log."""
    found = _log_page(connection, "access_log_page", "at", ACCESS_LOG_FILTERS, query)
    return [rows.access_row_of(row) for row in found]


def purge_log_page(connection: sqlite3.Connection, query: LogQuery) -> list[LogRow[PurgeRecord]]:
    """Return a page of the purge log."""
    found = _log_page(connection, "purge_log_page", "purged_at", PURGE_LOG_FILTERS, query)
    return [replace(rows.purge_row_of(row), scrubbed_at=_time_or_none(row[18])) for row in found]


def _time_or_none(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _log_page(
    connection: sqlite3.Connection, name: str, time: str, columns: Sequence[str], query: LogQuery
) -> list[Any]:
    direction = "oldest_first" if query.oldest_first else "newest_first"
    filters: list[str] = []
    parameters: dict[str, Any] = {"limit": query.limit}
    for bound in ("since", "until"):
        if (at := getattr(query, bound)) is not None:
            filters.append(QUERIES[f"log_where_{bound}"].format(time=time))
            parameters[bound] = to_micros(at)
    for column, wanted in query.equals.items():
        if column not in columns:
            raise ValueError(f"{name} has no filter {column}")
        filters.append(QUERIES["log_where_equal"].format(column=column))
        parameters[column] = wanted
    if query.after is not None:
        filters.append(QUERIES[f"log_after_{direction}"])
        parameters["after"] = query.after
    sql = QUERIES[name].format(filters="\n".join(filters), order=QUERIES[f"log_order_{direction}"])
    return connection.execute(sql, parameters).fetchall()


def entry_statistics(
    connection: sqlite3.Connection,
    as_of: datetime,
    retention_limits: Mapping[str, datetime],
    known_policies: Sequence[str],
) -> EntryStatistics:
    """Count the entries of the vault without reading values."""
    with transaction(connection, "begin_read"):
        by_purpose = {
            purpose: _purpose_statistics(connection, purpose, as_of, retention_limit)
            for purpose, retention_limit in retention_limits.items()
        }
        span = {"since": to_micros(as_of - THIRTY_DAYS), "as_of": to_micros(as_of)}
        (purged,) = connection.execute(QUERIES["census_purged"], span).fetchone()
        (without_proof,) = connection.execute(QUERIES["census_without_proof"]).fetchone()
        undefined = undefined_policies(connection, known_policies)
    return EntryStatistics(by_purpose, purged, without_proof, undefined)


def undefined_policies(connection: sqlite3.Connection, known: Sequence[str]) -> dict[str, int]:
    """Return the number of entries under each policy that is not in ``known``."""
    return dict(connection.execute(QUERIES["census_undefined_policies"], {"known": json.dumps(list(known))}).fetchall())


def _purpose_statistics(
    connection: sqlite3.Connection, purpose: str, as_of: datetime, retention_limit: datetime
) -> PurposeStatistics:
    found = connection.execute(
        QUERIES["census_of_purpose"],
        {
            "purpose": purpose,
            "as_of": to_micros(as_of),
            "retention_limit": to_micros(retention_limit),
            "soon": to_micros(as_of + THIRTY_DAYS),
            "retention_limit_soon": to_micros(retention_limit + THIRTY_DAYS),
        },
    ).fetchall()
    return PurposeStatistics(
        active=sum(row[1] for row in found),
        expired_pending_purge=sum(row[2] for row in found),
        expiring_next_30_days=sum(row[3] for row in found),
        key_refs={row[0]: row[1] for row in found if row[0] and row[1]},
        without_key_ref=sum(row[1] for row in found if not row[0]),
    )


def key_refs_page(connection: sqlite3.Connection, query: KeyRefQuery) -> list[KeyRefUse]:
    """Return a page of the entries of each key_ref. Entries without one come first."""
    parameters = {
        "purpose": query.purpose,
        "now": to_micros(query.now),
        "created_before": to_micros(query.created_before),
        "after": query.after,
        "key_ref": query.key_ref,
    }
    found: list[Any] = []
    with transaction(connection, "begin_read"):
        for name in _key_ref_filters(query):
            sql = QUERIES["key_refs"].format(filter=QUERIES[f"key_refs_where_{name}"])
            found += connection.execute(sql, {**parameters, "limit": query.limit - len(found)}).fetchall()
    return [KeyRefUse(row[0], row[1], row[2], from_micros(row[3]), from_micros(row[4])) for row in found]


def _key_ref_filters(query: KeyRefQuery) -> tuple[str, ...]:
    if query.key_ref is not None:
        return ("equal",)
    return ("none", "any") if query.after is None else ("after",)


def retention_limit_effect(connection: sqlite3.Connection, change: RetentionLimitChange) -> RetentionLimitEffect:
    """Count the effects of another maximum without reading values."""
    expired, revived, changed, oldest = connection.execute(
        QUERIES["retention_limit_effect"],
        {
            "purpose": change.purpose,
            "now": to_micros(change.now),
            "retention_limit": to_micros(change.now - change.before),
            "next_retention_limit": to_micros(change.now - change.after),
            "shorter": min(change.before, change.after) // timedelta(microseconds=1),
        },
    ).fetchone()
    return RetentionLimitEffect(
        expired or 0, revived or 0, changed or 0, None if oldest is None else from_micros(oldest)
    )


def acquire_lease(
    connection: sqlite3.Connection, name: str, holder: str, seconds: float, clock: Callable[[], datetime]
) -> bool:
    """Take or renew a lease, unless another holder's lease has not expired. A new one removes those that have expired."""
    with transaction(connection, "begin_write"):
        now = clock()
        if connection.execute(QUERIES["knows_lease"], {"name": name}).fetchone() is None:
            connection.execute(QUERIES["drop_expired_leases"], {"name": name, "now": to_micros(now)})
        cursor = connection.execute(
            QUERIES["acquire_lease"],
            {
                "name": name,
                "holder": holder,
                "now": to_micros(now),
                "expires_at": to_micros(now + timedelta(seconds=seconds)),
            },
        )
        return cursor.rowcount == 1


def release_lease(connection: sqlite3.Connection, name: str, holder: str) -> None:
    """Release a lease if ``holder`` has it."""
    with transaction(connection, "begin_write"):
        connection.execute(QUERIES["release_lease"], {"name": name, "holder": holder})


def cursors(connection: sqlite3.Connection) -> dict[str, int]:
    """Return every cursor's position."""
    return {name: int(position) for name, position in connection.execute(QUERIES["cursors"]).fetchall()}


def save_cursor(connection: sqlite3.Connection, name: str, position: int) -> None:
    """Move a cursor forward."""
    with transaction(connection, "begin_write"):
        connection.execute(QUERIES["save_cursor"], {"name": name, "position": position})


def record_usages(connection: sqlite3.Connection, uses: Mapping[CredentialName, datetime]) -> None:
    """Record when credentials were used."""
    with transaction(connection, "begin_write"):
        connection.executemany(
            QUERIES["record_usage"],
            [{"method": name[0], "credential_id": name[1], "at": to_micros(at)} for name, at in uses.items()],
        )


def credential_uses(connection: sqlite3.Connection) -> dict[CredentialName, CredentialUse]:
    """Return when each credential was used."""
    found = connection.execute(QUERIES["credential_uses"]).fetchall()
    return {CredentialName(row[0], row[1]): CredentialUse(from_micros(row[2]), from_micros(row[3])) for row in found}


def clock_reading(connection: sqlite3.Connection, clock: Callable[[], datetime]) -> ClockReading:
    """Return the clock and the high-water mark."""
    (mark,) = connection.execute(QUERIES["mark"]).fetchone()
    return ClockReading(clock(), _time_or_none(mark))


def raise_mark(connection: sqlite3.Connection, at: datetime) -> None:
    """Advance the mark, unless it is later already."""
    with transaction(connection, "begin_write"):
        connection.execute(QUERIES["raise_mark"], {"at": to_micros(at)})


def secret(connection: sqlite3.Connection, name: str, made: bytes) -> bytes:
    """Return the secret, or store and return ``made`` if there was none."""
    with transaction(connection, "begin_write"):
        connection.execute(QUERIES["make_secret"], (name, made))
        (value,) = connection.execute(QUERIES["secret"], (name,)).fetchone()
    return bytes(value)
