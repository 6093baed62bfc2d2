"""Pages of entries and of the logs: each query as one statement and its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.interfaces.storage import EntryQuery, LogQuery
from vsqlvault.model.entry import EntryState
from vsqlvault.model.times import to_micros
from vsqlvault.model.transparency import LogName
from vsqlvault_storage_mariadb.rows import ACCESS_LOG, ENTRIES, PURGE_LOG, Table

_MICROSECOND = timedelta(microseconds=1)
LOGS: Mapping[LogName, tuple[str, str, Table[Any]]] = {
    LogName.ACCESS: ("access_log", "at", ACCESS_LOG),
    LogName.PURGE: ("purge_log", "purged_at", PURGE_LOG),
}
"""The table of each log, its column with the time, and its columns."""
Statement = tuple[str, list[Any]]


class _Where:
    """Conditions that must all be met, and their parameters."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.parameters: list[Any] = []

    def add(self, condition: str, *parameters: Any) -> None:
        self.parts.append(condition)
        self.parameters += parameters

    def add_given(self, condition: str, parameter: Any) -> None:
        """Add the condition, unless its parameter is None."""
        if parameter is not None:
            self.add(condition, parameter)

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self.parts)}" if self.parts else ""


def entries_page(query: EntryQuery) -> Statement:
    """Return the statement for a page of entries."""
    where = _Where()
    where.add("purpose = %s", query.purpose)
    where.add_given("external_id > %s", query.after)
    where.add_given("key_ref = %s", query.key_ref)
    where.add_given("owner_app = %s", query.owner_app)
    where.add_given("access_policy = %s", query.access_policy)
    if query.state is EntryState.PURGED:
        where.add("purged_at IS NOT NULL")
    elif query.state is not None:
        _add_state(where, query)
    if query.expires_before is not None:
        before = to_micros(query.expires_before)
        if query.created_before is None:
            where.add("expires_at < %s", before)
        else:
            maximum = (query.now - query.created_before) // _MICROSECOND
            where.add("(expires_at < %s OR created_at < %s)", before, before - maximum)
    sql = f"SELECT {ENTRIES.listed} FROM entries{where} ORDER BY external_id LIMIT %s"  # noqa: S608
    return sql, [*where.parameters, query.limit]


def _add_state(where: _Where, query: EntryQuery) -> None:
    now, limit = to_micros(query.now), to_micros(query.created_before) if query.created_before else None
    is_expired = query.state is EntryState.EXPIRED
    where.add("purged_at IS NULL")
    if limit is None:
        where.add("expires_at <= %s" if is_expired else "expires_at > %s", now)
    elif is_expired:
        where.add("(expires_at <= %s OR created_at <= %s)", now, limit)
    else:
        where.add("expires_at > %s AND created_at > %s", now, limit)


def expired_keys(query: ExpiredQuery) -> Sequence[Statement]:
    """Return two statements for the ids and sizes of a page: expired by their own time, then by the retention limit."""
    return [
        _expired(query, by_limit, at)
        for by_limit, at in ((False, "expires_at"), (True, "created_at"))
        if query.after is None or query.after.by_retention_limit <= by_limit
    ]


def _expired(query: ExpiredQuery, by_limit: bool, at: str) -> Statement:
    where = _Where()
    where.add("purpose = %s AND purged_at IS NULL", query.purpose)
    where.add(f"{at} <= %s", to_micros(query.created_before if by_limit else query.now))
    if by_limit:
        where.add("expires_at > %s", to_micros(query.now))
    if query.after is not None and query.after.by_retention_limit == by_limit:
        after = to_micros(query.after.at)
        where.add(f"{at} >= %s AND ({at} > %s OR external_id > %s)", after, after, query.after.external_id)
    sql = f"SELECT external_id, LENGTH(value) FROM entries{where} ORDER BY {at}, external_id LIMIT %s"  # noqa: S608
    return sql, [*where.parameters, query.limit]


def with_values(purpose: str, external_ids: Sequence[str]) -> Statement:
    """Return the statement for entries and their values."""
    asked = ", ".join(["%s"] * len(external_ids))
    sql = f"SELECT {ENTRIES.listed}, value FROM entries WHERE purpose = %s AND external_id IN ({asked})"  # noqa: S608
    return sql, [purpose, *external_ids]


def log_page(name: LogName, query: LogQuery) -> Statement:
    """Return the statement for a page of a log. The columns of ``query.equals`` have been checked."""
    table, at, columns = LOGS[name]
    where = _Where()
    where.add_given("position > %s" if query.oldest_first else "position < %s", query.after)
    where.add_given(f"{at} >= %s", to_micros(query.since) if query.since else None)
    where.add_given(f"{at} < %s", to_micros(query.until) if query.until else None)
    for column, value in query.equals.items():
        where.add(f"{column} = %s", value)
    order = "position" if query.oldest_first else "position DESC"
    sql = f"SELECT {columns.listed}, position, leaf_hash FROM {table}{where} ORDER BY {order} LIMIT %s"  # noqa: S608
    return sql, [*where.parameters, query.limit]
