"""The compliance report and evidence bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from vsqlvault.errors import InvalidQuery, NotAcceptable, NothingSigned, RoleRequired, RowsArchived
from vsqlvault.http.media_types import preferred
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.queries import EvidenceQuery, ReportQuery
from vsqlvault.http.schemas.results.service import Report
from vsqlvault.model.audit import Operation as Audited

JSON, HTML, ZIP, OSCAL = "application/json", "text/html", "application/zip", "application/oscal+json"


async def report(exchange: RequestContext) -> Reply:
    """Return the compliance report as JSON, as a page, or as OSCAL. ``format`` takes precedence over ``Accept``."""
    query = exchange.query(ReportQuery)
    named = {"json": JSON, "oscal": OSCAL, "html": HTML}.get(query.format or "")
    media_type = named or preferred(exchange.request.header("accept"), (JSON, HTML, OSCAL))
    written = await exchange.vault.compliance.report.write(
        exchange.call, query.as_of, since=query.since, until=query.until
    )
    vary = ("Vary", "Accept")
    if media_type == OSCAL:
        from vsqlvault.service.compliance.oscal import oscal_document  # noqa: PLC0415 - few reports need it

        return Reply(200, dump_json(oscal_document(written)), OSCAL, [vary])
    if media_type == JSON:
        return Reply(200, dump_json(written), headers=[vary])
    return await _page(exchange, written, [vary, ("Referrer-Policy", "no-referrer")])


async def _page(exchange: RequestContext, written: Mapping[str, Any], headers: list[tuple[str, str]]) -> Reply:
    """Return the report as a page that names the vault and who asked. Raises Unavailable."""
    from vsqlvault.report_html.page import (  # noqa: PLC0415 - only a report needs it
        Reading,
        content_security_policy,
        report_page,
    )
    from vsqlvault.report_html.words import in_words  # noqa: PLC0415
    from vsqlvault.service.compliance.evidence_bundle import report_file  # noqa: PLC0415

    caller, newest = exchange.call.principal, await exchange.vault.storage.newest_checkpoint()
    name = f"{caller.app} ({caller.identity})" if caller.identity else caller.app
    asked_by = f"{name}, with {in_words(caller.method)} {caller.credential_id}"
    reading = Reading(newest.origin if newest else None, asked_by, hashlib.sha256(report_file(written)).hexdigest())
    headers.append(("Content-Security-Policy", content_security_policy(written, reading)))
    return Reply(200, report_page(written, reading), f"{HTML}; charset=utf-8", headers)


async def evidence(exchange: RequestContext) -> Reply:
    """Return an evidence bundle as a stream."""
    if exchange.request.http_version == "1.0":
        raise NotAcceptable("HTTP/1.1: in HTTP/1.0 a stream that broke off looks like one that is complete")
    from vsqlvault.report_html.page import report_page  # noqa: PLC0415

    query = exchange.query(EvidenceQuery)
    pieces = await exchange.vault.compliance.evidence.bundle(
        exchange.call, report_page, as_of=query.as_of, since=query.since, until=query.until
    )
    disposition = ("Content-Disposition", 'attachment; filename="evidence.zip"')
    return Reply(200, pieces, ZIP, [disposition])


OPERATIONS = (
    Operation(
        method="GET",
        path="/compliance/report",
        name="report",
        example="<!doctype html>…",
        result=Report,
        summary="PCI DSS Requirement 3 evidence, as of one instant",
        handler=report,
        audited=Audited.READ_REPORT,
        query=ReportQuery,
        answers={200: "The report.", 303: "A browser without a session is sent to sign in."},
        headers={"Vary": "The format depends on Accept."},
        description=(
            "`Accept: text/html` or `format=html` returns a page to read and print, and "
            "`Accept: application/oscal+json` or `format=oscal` OSCAL assessment results. Entries are counted as of "
            "`as_of`, log rows from `since` to `until`. `vsql-vault schema report` prints the JSON Schema."
        ),
        media_types=(JSON, HTML, OSCAL),
        problems=(RoleRequired, InvalidQuery, NotAcceptable),
        tag="compliance",
        in_browser=True,
    ),
    Operation(
        method="GET",
        path="/compliance/evidence",
        name="evidence",
        example="PK…",
        summary="Get the evidence of a period in one signed file",
        handler=evidence,
        audited=Audited.EXPORT_EVIDENCE,
        query=EvidenceQuery,
        answers={200: "A ZIP file, streamed."},
        headers={"Content-Disposition": "The file name."},
        description=(
            "Verify the file with `vsql-vault verify FILE --vkey KEY`. An incomplete stream is not a valid ZIP file."
        ),
        media_types=(ZIP,),
        problems=(RoleRequired, InvalidQuery, NotAcceptable, NothingSigned, RowsArchived),
        tag="compliance",
    ),
)
