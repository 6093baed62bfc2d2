"""Which entries and rows a query selects: for storages that filter in Python, and for the derived methods."""

from __future__ import annotations

from datetime import datetime

from vsqlvault.interfaces.storage import ACCESS_LOG_FILTERS, PURGE_LOG_FILTERS, EntryQuery, LogQuery
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, EntryState
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.transparency import LogName

FILTERS = {LogName.ACCESS: ACCESS_LOG_FILTERS, LogName.PURGE: PURGE_LOG_FILTERS}


def end_of(entry: Entry, now: datetime, created_before: datetime | None) -> datetime:
    """Return the effective expiry. ``created_before`` is the retention limit at ``now``; None: there is none."""
    if created_before is None:
        return entry.expires_at
    return min(entry.expires_at, entry.created_at + (now - created_before))


def state_of(entry: Entry, now: datetime, created_before: datetime | None) -> EntryState:
    """Return the state of an entry at ``now``."""
    if entry.purged_at is not None:
        return EntryState.PURGED
    return EntryState.EXPIRED if end_of(entry, now, created_before) <= now else EntryState.ACTIVE


def selects_entry(query: EntryQuery, entry: Entry) -> bool:
    """Return whether the entry is on the pages of the query."""
    return (
        entry.purpose == query.purpose
        and (query.after is None or entry.external_id > query.after)
        and query.state in {None, state_of(entry, query.now, query.created_before)}
        and query.key_ref in {None, entry.key_ref}
        and query.owner_app in {None, entry.owner_app}
        and query.access_policy in {None, entry.access_policy}
        and (query.expires_before is None or end_of(entry, query.now, query.created_before) < query.expires_before)
    )


def selects_row(query: LogQuery, position: int, record: AccessRecord | PurgeRecord) -> bool:
    """Return whether the row is on the pages of the query."""
    at = record.at if isinstance(record, AccessRecord) else record.purged_at
    return (
        (query.after is None or (position > query.after if query.oldest_first else position < query.after))
        and (query.since is None or at >= query.since)
        and (query.until is None or at < query.until)
        and all(getattr(record, name) == value for name, value in query.equals.items())
    )


def check_filters(log: LogName, query: LogQuery) -> None:
    """Raise ValueError for a column by which the log cannot be filtered."""
    for name in query.equals:
        if name not in FILTERS[log]:
            raise ValueError(f"no filter of the {log.value} log: {name}")
