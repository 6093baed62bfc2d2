"""The probes of an orchestrator or a load balancer: whether the process answers, and whether it serves entries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vsqlvault.errors import Quarantined, VaultError
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext, also_head
from vsqlvault.http.operations.health import HEALTH_SECONDS
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.results.service import Live, Ready
from vsqlvault.service.vault import Vault


def probes(is_ending: Callable[[], bool]) -> tuple[Operation, ...]:
    """Return the routes of the probes. ``is_ending``: whether the server stops soon."""

    async def ready(exchange: RequestContext) -> Reply:
        reason = "ending" if is_ending() else await _reason_not_to_serve(exchange.vault)
        if reason is None:
            return Reply(200, dump_json({"status": "ready"}))
        return Reply(503, dump_json({"status": "unavailable", "reason": reason}), headers=[("Retry-After", "1")])

    return (
        *also_head(
            Operation(
                method="GET",
                path="/health/live",
                name="live",
                result=Live,
                summary="Liveness probe",
                handler=live,
                description="Does not depend on the storage. Restart the process if it does not answer.",
                answers={200: "The process answers."},
                tag="service",
            )
        ),
        *also_head(
            Operation(
                method="GET",
                path="/health/ready",
                name="ready",
                result=Ready,
                summary="Readiness probe",
                handler=ready,
                description="Send requests for entries to this process only while the response is 200.",
                answers={
                    200: "Entries are served.",
                    503: "`ending`: the process stops soon. `quarantined`: an operator must confirm a restore. "
                    "`storage_unavailable`: the storage does not answer.",
                },
                tag="service",
            )
        ),
    )


async def live(_: RequestContext) -> Reply:
    """Return that the process answers. Nothing else is checked."""
    return Reply(200, dump_json({"status": "live"}))


async def _reason_not_to_serve(vault: Vault) -> str | None:
    quarantine = vault.log.quarantine
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            await vault.queue.read()
            if quarantine.must_check:
                await quarantine.check()
    except Quarantined:
        return "quarantined"
    except (VaultError, TimeoutError):
        return "storage_unavailable"
    return None
