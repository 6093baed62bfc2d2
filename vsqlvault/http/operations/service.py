"""The report, and what watches over the server: health, metrics, the description of this API."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from vsqlvault import __version__
from vsqlvault.errors import InvalidQuery, NotAcceptable, NothingSigned, RoleRequired, VaultError
from vsqlvault.http.exchange import Reply
from vsqlvault.http.operation import Exchange, Operation, also_head
from vsqlvault.http.operations.logs import preferred
from vsqlvault.http.queries import EvidenceQuery, ReportQuery
from vsqlvault.http.report_page import CONTENT_SECURITY_POLICY, report_page
from vsqlvault.http.wire import dump_json
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.control import Control, ControlState
from vsqlvault.model.times import format_time
from vsqlvault.service.vault import Vault

HEALTH_SECONDS = 2.0
JSON, HTML, ZIP = "application/json", "text/html", "application/zip"


async def report(exchange: Exchange) -> Reply:
    """Answer with the compliance report, as JSON or as a page; ``format`` goes before ``Accept``."""
    query = exchange.query(ReportQuery)
    named = {"json": JSON, "html": HTML}.get(query.format or "")
    media_type = named or preferred(exchange.request.header("accept"), (JSON, HTML))
    written = await exchange.vault.report.write(exchange.call, query.as_of, since=query.since, until=query.until)
    vary = ("Vary", "Accept")
    if media_type == JSON:
        return Reply(200, dump_json(written), headers=[vary])
    headers = [vary, ("Content-Security-Policy", CONTENT_SECURITY_POLICY), ("Referrer-Policy", "no-referrer")]
    return Reply(200, report_page(written), f"{HTML}; charset=utf-8", headers)


async def evidence(exchange: Exchange) -> Reply:
    """Answer with an evidence bundle, as it is written."""
    if exchange.request.http_version == "1.0":
        raise NotAcceptable("HTTP/1.1: in HTTP/1.0 a stream that broke off looks like one that is complete")
    query = exchange.query(EvidenceQuery)
    pieces = await exchange.vault.evidence.bundle(
        exchange.call, report_page, as_of=query.as_of, since=query.since, until=query.until
    )
    disposition = ("Content-Disposition", 'attachment; filename="evidence.zip"')
    return Reply(200, pieces, ZIP, [disposition])


async def health(exchange: Exchange) -> Reply:
    """Answer whether the storage answers; to admins and auditors, also what runs here, on what, and how far it is locked in."""
    detail = _detail(exchange.vault) if exchange.call.principal.roles else {}
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            await exchange.vault.queue.read()
    except (VaultError, TimeoutError):
        return Reply(503, dump_json({"status": "unavailable", **detail}), headers=[("Retry-After", "1")])
    return Reply(200, dump_json({"status": "ok", **detail}))


def _detail(vault: Vault) -> dict[str, Any]:
    return {
        "version": __version__,
        "storage": dict(vault.describe_storage()),
        "hardening": {step.name: {"state": step.state, "detail": step.detail} for step in vault.hardening},
        "plugins": [asdict(origin) for origin in vault.plugins],
    }


async def controls(exchange: Exchange) -> Reply:
    """Answer with every control, as it stands now."""
    found = await exchange.vault.controls.read(exchange.call)
    failing = sum(control.state is ControlState.FAILING for control in found)
    return Reply(200, dump_json({"failing": failing, "controls": [_control(control) for control in found]}))


def _control(control: Control) -> dict[str, Any]:
    return {
        "name": control.name,
        "state": control.state.value,
        "since": format_time(control.since),
        "detail": control.detail,
        "requirements": list(control.requirements),
    }


OPERATIONS = (
    Operation(
        method="GET",
        path="/compliance/report",
        name="report",
        summary="PCI DSS Requirement 3 evidence, as of one instant",
        handler=report,
        audited=Audited.READ_REPORT,
        query=ReportQuery,
        answers={200: "The report."},
        description=(
            "`Accept: text/html` or `format=html` gives a page to read and print. Entries count as of `as_of`; rows of "
            "the logs from `since` to `until`. `vsql-vault schema report` prints the JSON Schema."
        ),
        media_types=(JSON, HTML),
        problems=(RoleRequired, InvalidQuery, NotAcceptable),
        tag="compliance",
    ),
    Operation(
        method="GET",
        path="/compliance/evidence",
        name="evidence",
        summary="Report, policies, logs and proofs of a period in one signed file",
        handler=evidence,
        audited=Audited.EXPORT_EVIDENCE,
        query=EvidenceQuery,
        answers={200: "A ZIP file, streamed."},
        description="`vsql-vault verify FILE --vkey KEY` checks it. A stream that breaks off is no whole ZIP file.",
        media_types=(ZIP,),
        problems=(RoleRequired, InvalidQuery, NotAcceptable, NothingSigned),
        tag="compliance",
    ),
    Operation(
        method="GET",
        path="/health/controls",
        name="controls",
        summary="The controls, and whether each works",
        handler=controls,
        audited=Audited.READ_CONTROLS,
        answers={200: "Every control: `ok`, `failing` or `not_in_use`, since when, and what was found."},
        description="Looked at anew for each request. `failing` counts those that fail. For admins and auditors.",
        problems=(RoleRequired,),
        tag="compliance",
    ),
    *also_head(
        Operation(
            method="GET",
            path="/health",
            name="health",
            summary="Health check",
            handler=health,
            description="With a credential of an admin or an auditor, also version, storage, hardening and plugins.",
            answers={200: "The vault answers.", 503: "Its storage does not."},
            tag="service",
        )
    ),
)
