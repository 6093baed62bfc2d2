"""Lists of entries, the logs, and counts of entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from vsqlvault.interfaces.purge_storage import ExpiredPlace, ExpiredQuery
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse, PurposeStatistics
from vsqlvault.interfaces.storage import (
    EntryQuery,
    KeyRefQuery,
    LogQuery,
    LogRow,
    RetentionLimitChange,
    RetentionLimitEffect,
)
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import EPOCH
from vsqlvault_plugins.storage.sql.dialect import QUERIES
from vsqlvault_plugins.storage.sql.reading import Reading, fetch, fetch_one, fetch_value
from vsqlvault_plugins.storage.sql.rows import Rows

THIRTY_DAYS = timedelta(days=30)
_FIRST = ExpiredPlace(False, datetime.min.replace(tzinfo=UTC), "")


def entries(rows: Rows, query: EntryQuery) -> Reading[list[Entry]]:
    """Return a page of one purpose's entries, without values."""
    filters = [QUERIES[f"entries_where_{query.state.value}"]] if query.state else []
    filters += [
        QUERIES.with_parts("entries_where_equal", column=column)
        for column in ("key_ref", "owner_app", "access_policy")
        if getattr(query, column) is not None
    ]
    if query.expires_before is not None:
        filters.append(QUERIES["entries_where_expires_before"])
    created_before, expires_before = query.created_before or EPOCH, query.expires_before or EPOCH
    found = yield from fetch(
        QUERIES.with_parts("entries_page", filters="\n".join(filters)),
        purpose=query.purpose,
        after=query.after or "",
        limit=query.limit,
        now=query.now,
        created_before=created_before,
        key_ref=query.key_ref,
        owner_app=query.owner_app,
        access_policy=query.access_policy,
        expires_before=expires_before,
        expires_before_creation=expires_before - (query.now - created_before) if query.created_before else EPOCH,
    )
    return [rows.entry_of(row) for row in found]


def expired_parts(query: ExpiredQuery) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield, for entries expired by their time and then for those expired by the retention limit, which it is, and the
    parameters of what the page has of them.
    """
    after = query.after
    for by_retention_limit, name in enumerate(("by_time", "by_retention_limit")):
        if after and after.by_retention_limit > by_retention_limit:
            continue
        from_here = after if after and after.by_retention_limit == by_retention_limit else _FIRST
        yield (
            name,
            {
                "purpose": query.purpose,
                "now": query.now,
                "created_before": query.created_before,
                "after_at": from_here.at,
                "after_id": from_here.external_id,
            },
        )


def expired_entries(rows: Rows, query: ExpiredQuery) -> Reading[list[Entry]]:
    """Return expired entries without their values, up to ``limit``."""
    page: list[Entry] = []
    for name, parameters in expired_parts(query):
        if len(page) < query.limit:
            left = query.limit - len(page)
            found = yield from fetch(QUERIES[f"expired_entries_{name}"], **parameters, limit=left)
            page += [rows.entry_of(row) for row in found]
    return page


def count_expired(at: datetime, retention_limits: Mapping[str, datetime]) -> Reading[int]:
    """Count expired entries."""
    total = 0
    for purpose, retention_limit in retention_limits.items():
        parameters = {"purpose": purpose, "at": at, "retention_limit": retention_limit}
        total += yield from fetch_value(QUERIES["count_expired"], **parameters)
    return total


def access_log(rows: Rows, query: LogQuery, settled: int | None = None) -> Reading[list[LogRow[AccessRecord]]]:
    """Return a page of the access log, up to the position ``settled``."""
    found = yield from _log("access_log_page", "at", query, settled)
    return [rows.access_row_of(row) for row in found]


def purge_log(rows: Rows, query: LogQuery, settled: int | None = None) -> Reading[list[LogRow[PurgeRecord]]]:
    """Return a page of the purge log, up to the position ``settled``."""
    found = yield from _log("purge_log_page", "purged_at", query, settled)
    return [rows.purge_row_of(row) for row in found]


def check_filters(query: LogQuery, known: Sequence[str]) -> None:
    """Raise ValueError for a filter that is not a column of the log, because it is put into a statement."""
    if unknown := query.equals.keys() - set(known):
        raise ValueError(f"there is no filter {min(unknown)}")


def _log(name: str, time: str, query: LogQuery, settled: int | None) -> Reading[list[Any]]:
    direction = "oldest_first" if query.oldest_first else "newest_first"
    filters: list[str] = []
    parameters: dict[str, Any] = {"limit": query.limit, **query.equals}
    if settled is not None:
        filters.append(QUERIES["log_where_settled"])
        parameters["settled"] = settled
    for bound in ("since", "until"):
        if (at := getattr(query, bound)) is not None:
            filters.append(QUERIES.with_parts(f"log_where_{bound}", time=time))
            parameters[bound] = at
    filters += [QUERIES.with_parts("log_where_equal", column=column) for column in query.equals]
    if query.after is not None:
        filters.append(QUERIES[f"log_after_{direction}"])
        parameters["after"] = query.after
    order = QUERIES[f"log_order_{direction}"]
    return fetch(QUERIES.with_parts(name, filters="\n".join(filters), order=order), **parameters)


def entry_statistics(
    as_of: datetime, retention_limits: Mapping[str, datetime], known_policies: Sequence[str]
) -> Reading[EntryStatistics]:
    """Count the entries of the vault without reading values."""
    by_purpose = {}
    for purpose, retention_limit in retention_limits.items():
        by_purpose[purpose] = yield from _purpose_statistics(purpose, as_of, retention_limit)
    return EntryStatistics(
        by_purpose,
        (yield from fetch_value(QUERIES["census_purged"], since=as_of - THIRTY_DAYS, as_of=as_of)),
        (yield from fetch_value(QUERIES["census_without_proof"])),
        (yield from undefined_policies(known_policies)),
    )


def undefined_policies(known: Sequence[str]) -> Reading[dict[str, int]]:
    """Return the number of entries under each policy that is not in ``known``."""
    found = yield from fetch(QUERIES["census_undefined_policies"], known=known)
    return {row[0]: row[1] for row in found}


def _purpose_statistics(purpose: str, as_of: datetime, retention_limit: datetime) -> Reading[PurposeStatistics]:
    found = yield from fetch(
        QUERIES["census_of_purpose"],
        purpose=purpose,
        as_of=as_of,
        retention_limit=retention_limit,
        soon=as_of + THIRTY_DAYS,
        retention_limit_soon=retention_limit + THIRTY_DAYS,
    )
    return PurposeStatistics(
        active=sum(row[1] for row in found),
        expired_pending_purge=sum(row[2] for row in found),
        expiring_next_30_days=sum(row[3] for row in found),
        key_refs={row[0]: row[1] for row in found if row[0] and row[1]},
        without_key_ref=sum(row[1] for row in found if not row[0]),
    )


def key_refs(rows: Rows, query: KeyRefQuery) -> Reading[list[KeyRefUse]]:
    """Return a page of the entries of each key_ref. Entries without one come first."""
    found: list[Any] = []
    for name in _key_ref_filters(query):
        found += yield from fetch(
            QUERIES.with_parts("key_refs", filter=QUERIES[f"key_refs_where_{name}"]),
            purpose=query.purpose,
            now=query.now,
            created_before=query.created_before,
            after=query.after,
            key_ref=query.key_ref,
            limit=query.limit - len(found),
        )
    return [KeyRefUse(row[0], row[1], row[2], rows.time(row[3]), rows.time(row[4])) for row in found]


def _key_ref_filters(query: KeyRefQuery) -> tuple[str, ...]:
    if query.key_ref is not None:
        return ("equal",)
    return ("none", "any") if query.after is None else ("after",)


def retention_limit_effect(rows: Rows, change: RetentionLimitChange) -> Reading[RetentionLimitEffect]:
    """Count the effects of another maximum without reading values."""
    expired, revived, changed, oldest = yield from fetch_one(
        QUERIES["retention_limit_effect"],
        purpose=change.purpose,
        now=change.now,
        retention_limit=change.now - change.before,
        next_retention_limit=change.now - change.after,
        shorter=min(change.before, change.after),
    )
    return RetentionLimitEffect(expired, revived, changed, rows.time_or_none(oldest))
