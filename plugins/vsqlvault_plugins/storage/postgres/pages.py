"""Lists, logs and counts, which may take long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse, PurposeStatistics
from vsqlvault.interfaces.storage import (
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
from vsqlvault.model.times import EPOCH
from vsqlvault_plugins.storage.policy_rows import snapshot_of
from vsqlvault_plugins.storage.postgres import rows
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection

THIRTY_DAYS = timedelta(days=30)
NO_VERSION = 2**63 - 1
"""Greater than every version."""


async def policy_snapshot(connection: Connection) -> PolicySnapshot:
    """Return all policies in force, all API keys and every legal hold, of one consistent state."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        revision = await connection.fetchval(QUERIES["revision"])
        access = await connection.fetch(QUERIES["access_policies"])
        retention = await connection.fetch(QUERIES["retention_policies"])
        api_keys = await connection.fetch(QUERIES["api_keys"])
        holds = await connection.fetch(QUERIES["legal_holds"])
    return snapshot_of(revision, access, retention, api_keys, holds, rows)


async def revoked_keys(connection: Connection) -> frozenset[str]:
    """Return the ids of the API keys that rows of the access log revoke."""
    return frozenset(row[0] for row in await connection.fetch(QUERIES["revoked_keys"]))


async def access_policy_versions(connection: Connection, query: VersionQuery) -> list[AccessPolicy]:
    """Return a page of an access policy's versions."""
    return [rows.access_policy_of(row) for row in await _versions(connection, "access_policy_versions", query)]


async def retention_policy_versions(connection: Connection, query: VersionQuery) -> list[RetentionPolicy]:
    """Return a page of a retention policy's versions."""
    return [rows.retention_policy_of(row) for row in await _versions(connection, "retention_policy_versions", query)]


async def legal_hold_versions(connection: Connection, query: VersionQuery) -> list[LegalHold]:
    """Return a page of a legal hold's versions."""
    return [rows.legal_hold_of(row) for row in await _versions(connection, "legal_hold_versions", query)]


async def _versions(connection: Connection, name: str, query: VersionQuery) -> Sequence[Any]:
    before = NO_VERSION if query.before is None else query.before
    found: Sequence[Any] = await connection.fetch(QUERIES[name], query.name, before, query.limit)
    return found


async def entries_page(connection: Connection, query: EntryQuery) -> list[Entry]:
    """Return a page of one purpose's entries, without values."""
    created_before = query.created_before or EPOCH
    parameters: list[Any] = [query.purpose, query.after or "", query.limit, query.now, created_before]
    filters = [QUERIES[f"entries_where_{query.state.value if query.state else 'any'}"]]
    for column in ("key_ref", "owner_app", "access_policy"):
        if (wanted := getattr(query, column)) is not None:
            parameters.append(wanted)
            filters.append(QUERIES["entries_where_equal"].format(column=column, place=len(parameters)))
    if query.expires_before is not None:
        age = query.now - created_before
        by_creation = query.expires_before - age if query.created_before else EPOCH
        parameters += [query.expires_before, by_creation]
        place = len(parameters)
        filters.append(QUERIES["entries_where_expires_before"].format(place=place - 1, next=place))
    sql = QUERIES["entries_page"].format(filters="\n".join(filters))
    return [rows.entry_of(row) for row in await connection.fetch(sql, *parameters)]


async def access_log_page(connection: Connection, query: LogQuery) -> list[LogRow[AccessRecord]]:
    """Return a page of the access log."""
    found = await _log_page(connection, "access_log_page", "at", query)
    return [rows.access_row_of(row) for row in found]


async def purge_log_page(connection: Connection, query: LogQuery) -> list[LogRow[PurgeRecord]]:
    """Return a page of the purge log."""
    found = await _log_page(connection, "purge_log_page", "purged_at", query)
    return [replace(rows.purge_row_of(row[:18]), scrubbed_at=row[18]) for row in found]


def check_filters(query: LogQuery, known: Sequence[str]) -> None:
    """Raise ValueError for a filter that is not a column of the log, because it is inserted into a statement."""
    if unknown := query.equals.keys() - set(known):
        raise ValueError(f"there is no filter {min(unknown)}")


async def settled_position(connection: Connection, log: str) -> int:
    """Return the position before which no row can be inserted any more, so that a reader with a cursor misses none.

    Positions are assigned before the commit. This therefore waits, for the time of a flush, until no batch is in
    progress.
    """
    async with connection.transaction():
        await connection.execute(QUERIES["lock_rules"])
        return int(await connection.fetchval(QUERIES["newest_position"].format(log=log)))


async def _log_page(connection: Connection, name: str, time: str, query: LogQuery) -> Sequence[Any]:
    direction = "oldest_first" if query.oldest_first else "newest_first"
    parameters: list[Any] = [query.limit]
    filters: list[str] = []

    def add(clause: str, value: Any, **names: str) -> None:
        parameters.append(value)
        filters.append(QUERIES[clause].format(place=len(parameters), **names))

    if query.oldest_first:
        add("log_where_settled", await settled_position(connection, name.removesuffix("_page")))
    for bound in ("since", "until"):
        if (at := getattr(query, bound)) is not None:
            add(f"log_where_{bound}", at, time=time)
    for column, wanted in query.equals.items():
        add("log_where_equal", wanted, column=column)
    if query.after is not None:
        add(f"log_after_{direction}", query.after)
    sql = QUERIES[name].format(filters="\n".join(filters), order=QUERIES[f"log_order_{direction}"])
    found: Sequence[Any] = await connection.fetch(sql, *parameters)
    return found


async def entry_statistics(
    connection: Connection, as_of: datetime, retention_limits: Mapping[str, datetime], known_policies: Sequence[str]
) -> EntryStatistics:
    """Count the entries of the vault without reading values."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        by_purpose = {
            purpose: await _purpose_statistics(connection, purpose, as_of, retention_limit)
            for purpose, retention_limit in retention_limits.items()
        }
        purged = await connection.fetchval(QUERIES["census_purged"], as_of - THIRTY_DAYS, as_of)
        without_proof = await connection.fetchval(QUERIES["census_without_proof"])
        undefined = await undefined_policies(connection, known_policies)
    return EntryStatistics(by_purpose, purged, without_proof, undefined)


async def undefined_policies(connection: Connection, known: Sequence[str]) -> dict[str, int]:
    """Return the number of entries under each policy that is not in ``known``."""
    return {row[0]: row[1] for row in await connection.fetch(QUERIES["census_undefined_policies"], known)}


async def _purpose_statistics(
    connection: Connection, purpose: str, as_of: datetime, retention_limit: datetime
) -> PurposeStatistics:
    found = await connection.fetch(
        QUERIES["census_of_purpose"],
        purpose,
        as_of,
        retention_limit,
        as_of + THIRTY_DAYS,
        retention_limit + THIRTY_DAYS,
    )
    return PurposeStatistics(
        active=sum(row[1] for row in found),
        expired_pending_purge=sum(row[2] for row in found),
        expiring_next_30_days=sum(row[3] for row in found),
        key_refs={row[0]: row[1] for row in found if row[0] and row[1]},
        without_key_ref=sum(row[1] for row in found if not row[0]),
    )


async def key_refs_page(connection: Connection, query: KeyRefQuery) -> list[KeyRefUse]:
    """Return a page of the entries of each key_ref. Entries without one come first."""
    found: list[Any] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for name in _key_ref_filters(query):
            sql = QUERIES["key_refs"].format(filter=QUERIES[f"key_refs_where_{name}"])
            which = query.key_ref if query.key_ref is not None else query.after
            left = query.limit - len(found)
            found += await connection.fetch(sql, query.purpose, query.now, query.created_before, left, which)
    return [KeyRefUse(*row) for row in found]


def _key_ref_filters(query: KeyRefQuery) -> tuple[str, ...]:
    if query.key_ref is not None:
        return ("equal",)
    return ("none", "any") if query.after is None else ("after",)


async def retention_limit_effect(connection: Connection, change: RetentionLimitChange) -> RetentionLimitEffect:
    """Count the effects of another maximum without reading values."""
    row = await connection.fetchrow(
        QUERIES["retention_limit_effect"],
        change.purpose,
        change.now,
        change.now - change.before,
        change.now - change.after,
        min(change.before, change.after),
    )
    return RetentionLimitEffect(*row) if row else RetentionLimitEffect()


async def acquire_lease(connection: Connection, name: str, holder: str, seconds: float) -> bool:
    """Take or renew a lease, unless another holder's lease has not expired."""
    return bool(await connection.fetchval(QUERIES["acquire_lease"], name, holder, seconds))


async def release_lease(connection: Connection, name: str, holder: str) -> None:
    """Release a lease if ``holder`` has it."""
    await connection.execute(QUERIES["release_lease"], name, holder)


async def cursors(connection: Connection) -> dict[str, int]:
    """Return every cursor's position."""
    return {name: int(position) for name, position in await connection.fetch(QUERIES["cursors"])}


async def save_cursor(connection: Connection, name: str, position: int) -> None:
    """Move a cursor forward."""
    await connection.execute(QUERIES["save_cursor"], name, position)


async def record_usages(connection: Connection, uses: Mapping[CredentialName, datetime]) -> None:
    """Record when credentials were used."""
    await connection.execute(
        QUERIES["record_usages"], [name[0] for name in uses], [name[1] for name in uses], list(uses.values())
    )


async def credential_uses(connection: Connection) -> dict[CredentialName, CredentialUse]:
    """Return when each credential was used."""
    found = await connection.fetch(QUERIES["credential_uses"])
    return {CredentialName(row[0], row[1]): CredentialUse(row[2], row[3]) for row in found}


async def clock_reading(connection: Connection) -> ClockReading:
    """Return the clock and the high-water mark."""
    row = await connection.fetchrow(QUERIES["clock"])
    return ClockReading(*row)


async def raise_mark(connection: Connection, at: datetime) -> None:
    """Advance the mark, unless it is later already."""
    await connection.execute(QUERIES["raise_mark"], at)


async def secret(connection: Connection, name: str, made: bytes) -> bytes:
    """Return the secret, or store and return ``made`` if there was none."""
    await connection.execute(QUERIES["make_secret"], name, made)
    return bytes(await connection.fetchval(QUERIES["secret"], name))
