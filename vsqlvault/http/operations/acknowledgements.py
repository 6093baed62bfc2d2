"""``/admin/controls/{name}/acknowledgements``: records the cause and the remedy of a failed control."""

from __future__ import annotations

from vsqlvault.errors import (
    ContentEncodingRefused,
    ControlFailureNotFound,
    InvalidJson,
    InvalidTime,
    PayloadTooLarge,
    RoleRequired,
    UnsupportedMediaType,
    ValidationFailed,
)
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.admin_bodies import AcknowledgementBody
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.results.service import Acknowledgement as AcknowledgementResult
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.times import format_time
from vsqlvault.service.roles import require_admin


async def acknowledge(exchange: RequestContext) -> Reply:
    """Record an acknowledgement and return it."""
    acknowledgements, name = exchange.vault.compliance.acknowledgements, exchange.request.params["name"]
    async with acknowledgements.naming(exchange.call, name):
        require_admin(exchange.call)
        body = await exchange.body(AcknowledgementBody)
        failed_at = body.failure_time()
    made = await acknowledgements.acknowledge(exchange.call, name, failed_at, body.cause, body.remedy)
    return Reply(
        201,
        dump_json({
            "control": made.control,
            "failed_at": format_time(made.failed_at),
            "cause": made.cause,
            "remedy": made.remedy,
            "acknowledged_at": format_time(made.at),
            "app": made.app,
            "identity": made.identity,
        }),
    )  # fmt: skip


OPERATIONS = (
    Operation(
        method="POST",
        path="/admin/controls/{name}/acknowledgements",
        name="acknowledge_control_failure",
        result=AcknowledgementResult,
        summary="Record the cause and the remedy of a failed control",
        description=(
            "`failed_at` is the time at which the control began to fail, as in its row and in the report. A failure can be "
            "acknowledged again; the report shows the newest acknowledgement."
        ),
        handler=acknowledge,
        audited=Audited.ACKNOWLEDGE_FAILURE,
        body=AcknowledgementBody,
        answers={201: "The acknowledgement."},
        problems=(
            RoleRequired,
            ControlFailureNotFound,
            InvalidJson,
            InvalidTime,
            PayloadTooLarge,
            UnsupportedMediaType,
            ContentEncodingRefused,
            ValidationFailed,
        ),
        tag="compliance",
    ),
)
