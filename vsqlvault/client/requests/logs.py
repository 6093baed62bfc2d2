"""Reading the access log and the purge log, and streaming exports."""

from __future__ import annotations

from vsqlvault.client.errors import FieldProblem, InvalidQuery
from vsqlvault.client.requests.paging import MAX_PAGE, listed
from vsqlvault.client.results.rows import AccessRow, PurgeRow
from vsqlvault.client.wire import Answer, Page, Repeat, Request, Time, query_of

ACCESS_LOG, PURGE_LOG = "/admin/access-log", "/admin/purge-log"
MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
Filter = str | int | Time | None


def access_log(
    *,
    since: Time | None = None,
    until: Time | None = None,
    order: str = "desc",
    page_size: int = MAX_PAGE,
    operation: str | None = None,
    outcome: str | None = None,
    status: int | None = None,
    purpose: str | None = None,
    external_id: str | None = None,
    app: str | None = None,
    identity: str | None = None,
    method: str | None = None,
    credential_id: str | None = None,
    client_address: str | None = None,
    reason: str | None = None,
    policy: str | None = None,
    request_id: str | None = None,
) -> Request[Page[AccessRow]]:
    """List rows of the access log, newest first unless ``order`` is ``asc``. Reading it is an operation with a row."""
    filters = {
        "since": since,
        "until": until,
        "order": order,
        "operation": operation,
        "outcome": outcome,
        "status": status,
        "purpose": purpose,
        "external_id": external_id,
        "app": app,
        "identity": identity,
        "method": method,
        "credential_id": credential_id,
        "client_address": client_address,
        "reason": reason,
        "policy": policy,
        "request_id": request_id,
    }
    return listed(AccessRow, "rows", ACCESS_LOG, ACCESS_LOG, filters, page_size=page_size)


def purge_log(
    *,
    since: Time | None = None,
    until: Time | None = None,
    order: str = "desc",
    page_size: int = MAX_PAGE,
    purpose: str | None = None,
    external_id: str | None = None,
    app: str | None = None,
    method: str | None = None,
    reason: str | None = None,
    request_id: str | None = None,
    owner_app: str | None = None,
    key_ref: str | None = None,
    purge_id: str | None = None,
) -> Request[Page[PurgeRow]]:
    """List rows of the purge log, newest first unless ``order`` is ``asc``. Reading it is an operation with a row."""
    filters = {
        "since": since,
        "until": until,
        "order": order,
        "purpose": purpose,
        "external_id": external_id,
        "app": app,
        "method": method,
        "reason": reason,
        "request_id": request_id,
        "owner_app": owner_app,
        "key_ref": key_ref,
        "purge_id": purge_id,
    }
    return listed(PurgeRow, "rows", PURGE_LOG, PURGE_LOG, filters, page_size=page_size)


def export_access_log(*, media: str = "ndjson", **filters: Filter) -> Request[None]:
    """Stream every row of the access log that the filters of ``access_log`` find, as ``ndjson`` or ``csv``."""
    return _exported(ACCESS_LOG, media, filters)


def export_purge_log(*, media: str = "ndjson", **filters: Filter) -> Request[None]:
    """Stream every row of the purge log that the filters of ``purge_log`` find, as ``ndjson`` or ``csv``."""
    return _exported(PURGE_LOG, media, filters)


def evidence(*, as_of: Time | None = None, since: Time | None = None, until: Time | None = None) -> Request[None]:
    """Stream the evidence bundle, a ZIP file: report, policies, logs and proofs of a period."""
    path = "/compliance/evidence"
    query = query_of(as_of=as_of, since=since, until=until)
    return Request("GET", path, path + query, _nothing, Repeat.READ, (("Accept", "application/zip"),))


def _exported(path: str, media: str, filters: dict[str, Filter]) -> Request[None]:
    if media not in MEDIA_TYPES:
        raise InvalidQuery(errors=[FieldProblem("media", "ndjson or csv")])
    headers = (("Accept", MEDIA_TYPES[media]),)
    return Request("GET", path, path + query_of(**filters), _nothing, Repeat.READ, headers)


def _nothing(_: Answer) -> None:
    return None
