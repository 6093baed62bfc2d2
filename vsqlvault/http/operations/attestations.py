"""``/admin/attestations``: creates and reads attestations of retention."""

from __future__ import annotations

from vsqlvault.errors import AttestationNotFound, InvalidQuery, RoleRequired, TreeDamaged
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.admin_bodies import VersionsQuery
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.results.service import Attestation as AttestationResult
from vsqlvault.http.schemas.results.service import Attestations
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.times import format_time
from vsqlvault.proof.attestation import digest_of, shown_attestation


async def attest(exchange: RequestContext) -> Reply:
    """Create an attestation and return it."""
    await exchange.no_body()
    made = await exchange.vault.compliance.attestations.attest(exchange.call)
    location = ("Location", f"/admin/attestations/{made.number}")
    return Reply(201, dump_json(shown_attestation(made.document, made.note)), headers=[location])


async def list_attestations(exchange: RequestContext) -> Reply:
    """Return a page of attestations, newest first."""
    asked = exchange.query(VersionsQuery)
    found = await exchange.vault.compliance.attestations.attestations(exchange.call, asked.before, asked.limit)
    more = found[-1].number if len(found) == asked.limit and found[-1].number > 1 else None
    due_at = exchange.vault.compliance.attestations.beginning.due_at
    return Reply(
        200,
        dump_json({
            "attestations": [_listed(made) for made in found],
            "next_before": more,
            "due_at": format_time(due_at) if due_at else None,
        }),
    )  # fmt: skip


async def get_attestation(exchange: RequestContext) -> Reply:
    """Return one attestation as it was signed."""
    made = await exchange.vault.compliance.attestations.attestation(
        exchange.call, int(exchange.request.params["number"])
    )
    return Reply(200, dump_json(shown_attestation(made.document, made.note)))


def _listed(made: Attestation) -> dict[str, object]:
    return {
        "number": made.number,
        "at": format_time(made.at),
        "result": "clean" if made.is_clean else "exceptions",
        "signed": made.note is not None,
        "sha256": digest_of(made.document),
    }


OPERATIONS = (
    Operation(
        method="POST",
        path="/admin/attestations",
        name="attest",
        result=AttestationResult,
        summary="Attest retention",
        description=(
            "Examines every purpose for overdue entries, verifies a sample of 25 purges since the last "
            "attestation, and signs and stores the result. The sample depends on the log's root hash."
        ),
        handler=attest,
        audited=Audited.ATTEST,
        answers={201: "The result, clean or not: `attestation`, its `sha256`, and the signed `note`."},
        headers={"Location": "The URL of the attestation."},
        problems=(RoleRequired, TreeDamaged),
        tag="compliance",
    ),
    Operation(
        method="GET",
        path="/admin/attestations",
        name="list_attestations",
        result=Attestations,
        summary="List attestations, newest first",
        description="If `next_before` is not null, request the next page with this value as `before`.",
        handler=list_attestations,
        audited=Audited.READ_ATTESTATION,
        query=VersionsQuery,
        answers={200: "A page, and when the next one is due."},
        problems=(RoleRequired, InvalidQuery),
        tag="compliance",
    ),
    Operation(
        method="GET",
        path="/admin/attestations/{number}",
        name="get_attestation",
        result=AttestationResult,
        summary="Read an attestation",
        handler=get_attestation,
        audited=Audited.READ_ATTESTATION,
        answers={200: "The attestation as it was signed."},
        problems=(RoleRequired, AttestationNotFound),
        tag="compliance",
    ),
)
