"""``/admin/access-log`` and ``/admin/purge-log``: a page as JSON, or all rows as NDJSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from vsqlvault.errors import InvalidQuery, NotAcceptable, RoleRequired
from vsqlvault.http.media_types import preferred
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.queries import DEFAULT_LIMIT, AccessLogQuery, LogQueryBase, PurgeLogQuery, read_query
from vsqlvault.http.schemas.responses import (
    ACCESS_COLUMNS,
    PURGE_COLUMNS,
    access_row,
    archived_document,
    archived_headers,
    purge_row,
)
from vsqlvault.http.schemas.results.entries import AccessLogPage, PurgeLogPage
from vsqlvault.interfaces.storage import ACCESS_LOG_FILTERS, PURGE_LOG_FILTERS, LogQuery, LogRow
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.log_archive import ArchivedRows
from vsqlvault.model.purge import PurgeRecord

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
_PIECE = 64
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def access_log(exchange: RequestContext) -> Reply:
    """Return rows of the access log."""
    logs = exchange.vault.audit.log_reader
    media_type, query, members = _asked(exchange, AccessLogQuery, ACCESS_LOG_FILTERS)
    if media_type == JSON:
        rows = await logs.access_log(exchange.call, query)
        return _page(exchange, query, members, rows, _access_row, await exchange.vault.log.reader.archived(query))
    records = await logs.stream_access_log(exchange.call, query, _limit(members))
    return _stream(media_type, records, _access_row, ACCESS_COLUMNS, await exchange.vault.log.reader.archived(query))


async def purge_log(exchange: RequestContext) -> Reply:
    """Return rows of the purge log."""
    logs = exchange.vault.audit.log_reader
    media_type, query, members = _asked(exchange, PurgeLogQuery, PURGE_LOG_FILTERS)
    if media_type == JSON:
        purges = await logs.purge_log(exchange.call, query)
        return _page(exchange, query, members, purges, _purge_row, await exchange.vault.log.reader.archived(query))
    records = await logs.stream_purge_log(exchange.call, query, _limit(members))
    return _stream(media_type, records, _purge_row, PURGE_COLUMNS, await exchange.vault.log.reader.archived(query))


def _access_row(row: LogRow[AccessRecord]) -> dict[str, Any]:
    return access_row(row.record)


def _purge_row(row: LogRow[PurgeRecord]) -> dict[str, Any]:
    return purge_row(row.record, row.scrubbed_at)


def _asked(
    exchange: RequestContext, model: type[LogQueryBase], filters: Sequence[str]
) -> tuple[str, LogQuery, dict[str, str]]:
    media_type = preferred(exchange.request.header("accept"), (JSON, NDJSON, CSV))
    if media_type != JSON and exchange.request.http_version == "1.0":
        raise NotAcceptable(f"{JSON}, or HTTP/1.1: an HTTP/1.0 client cannot detect an incomplete stream")
    members = exchange.request.query()
    read_query(model, members)
    members, after = exchange.cursors.open(exchange.call.principal.app, exchange.request.raw_path.decode(), members)
    asked = read_query(model, members)
    query = LogQuery(
        limit=asked.limit or DEFAULT_LIMIT,
        since=asked.since,
        until=asked.until,
        after=after[0] if after else None,
        oldest_first=asked.order == "asc",
        equals={name: value for name in filters if (value := getattr(asked, name)) is not None},
    )
    return media_type, query, members


def _limit(members: dict[str, str]) -> int | None:
    return int(members["limit"]) if "limit" in members else None


def _page(
    exchange: RequestContext,
    query: LogQuery,
    members: dict[str, str],
    rows: Sequence[LogRow[Any]],
    shown: Callable[[Any], dict[str, Any]],
    archived: ArchivedRows | None,
) -> Reply:
    cursor = None
    if len(rows) == query.limit:
        place = [rows[-1].position]
        cursor = exchange.cursors.seal(exchange.call.principal.app, exchange.request.raw_path.decode(), members, place)
    page = {"rows": [shown(row) for row in rows], "next_cursor": cursor}
    members_of_all = page if archived is None else {**page, "archived": archived_document(archived)}
    return Reply(200, dump_json(members_of_all), headers=archived_headers(archived))


def _stream(
    media_type: str,
    records: AsyncIterator[Any],
    shown: Callable[[Any], dict[str, Any]],
    columns: Sequence[str],
    archived: ArchivedRows | None,
) -> Reply:
    headers = archived_headers(archived)
    if media_type == NDJSON:
        lines = _pieces(records, lambda rows: b"".join(dump_json(shown(row)) + b"\n" for row in rows))
        return Reply(200, lines, NDJSON, headers)
    lines = _pieces(records, lambda rows: _csv(shown(row).values() for row in rows), _csv([columns]))
    return Reply(200, lines, f"{CSV}; charset=utf-8; header=present", headers)


async def _pieces(
    records: AsyncIterator[Any], encode: Callable[[list[Any]], bytes], first: bytes = b""
) -> AsyncIterator[bytes]:
    """Yield rows in groups, because yielding single rows would cost one write to the socket each."""
    if first:
        yield first
    rows: list[Any] = []
    async for record in records:
        rows.append(record)
        if len(rows) == _PIECE:
            yield encode(rows)
            rows = []
    if rows:
        yield encode(rows)


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8")


def _cell(value: Any) -> Any:
    """Return the value for a spreadsheet. A value that it would interpret as a formula gets an apostrophe as prefix."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


_DESCRIPTION = (
    "Newest first, or oldest first with `order=asc`. `Accept: application/json` returns a page and `next_cursor`. "
    "`application/x-ndjson` and `text/csv` stream all matching rows, over HTTP/1.1 or later. Reading a log has an "
    "audit row. If archived rows were dropped from the period, a page has `archived`, which names their archives, and the "
    "header `X-Vault-Archived-Rows` counts them in every format, as of the start of the answer."
)
_HEADERS = {
    "X-Vault-Archived-Rows": (
        "Present only if archived rows were dropped from the period: a dictionary of RFC 9651 with `absent_rows`, `archives`, "
        "`end` and `newest_row_at`, as in `archived` of a page."
    )
}

OPERATIONS = (
    Operation(
        method="GET",
        path="/admin/access-log",
        name="access_log",
        example="at,request_id,operation,…",
        result=AccessLogPage,
        summary="Query the access log",
        description=_DESCRIPTION,
        handler=access_log,
        audited=Audited.READ_ACCESS_LOG,
        query=AccessLogQuery,
        answers={200: "Rows."},
        media_types=(JSON, NDJSON, CSV),
        headers=_HEADERS,
        problems=(RoleRequired, InvalidQuery, NotAcceptable),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/purge-log",
        name="purge_log",
        example="id,purged_at,purpose,…",
        result=PurgeLogPage,
        summary="Query the purge log",
        description=_DESCRIPTION,
        handler=purge_log,
        audited=Audited.READ_PURGE_LOG,
        query=PurgeLogQuery,
        answers={200: "Rows."},
        media_types=(JSON, NDJSON, CSV),
        headers=_HEADERS,
        problems=(RoleRequired, InvalidQuery, NotAcceptable),
        tag="admin",
    ),
)
