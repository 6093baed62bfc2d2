"""Health check and controls."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from vsqlvault import __version__
from vsqlvault.errors import RoleRequired, VaultError
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext, also_head
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.results.service import Controls, Health
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.control import Control, ControlState
from vsqlvault.model.times import format_time
from vsqlvault.service.vault import Vault

HEALTH_SECONDS = 2.0


async def health(exchange: RequestContext) -> Reply:
    """Return whether the storage answers, and whether its disk is full.

    Admins and auditors also get version, storage, plugins and the state of the sandbox.
    """
    detail = _detail(exchange.vault) if exchange.call.principal.roles else {}
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            await exchange.vault.queue.read()
    except (VaultError, TimeoutError):
        return Reply(503, dump_json({"status": "unavailable", **detail}), headers=[("Retry-After", "1")])
    status = "full" if exchange.vault.describe_storage().get("full") is True else "ok"
    return Reply(200, dump_json({"status": status, **detail}))


def _detail(vault: Vault) -> dict[str, Any]:
    return {
        "version": __version__,
        "storage": dict(vault.describe_storage()),
        "hardening": {step.name: {"state": step.state, "detail": step.detail} for step in vault.hardening},
        "plugins": [asdict(origin) for origin in vault.plugins],
    }


async def controls(exchange: RequestContext) -> Reply:
    """Return every control with its current state."""
    found = await exchange.vault.compliance.controls.read(exchange.call)
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
        path="/health/controls",
        name="controls",
        result=Controls,
        summary="List the controls and their states",
        handler=controls,
        audited=Audited.READ_CONTROLS,
        answers={200: "Every control with its state (`ok`, `failing` or `not_in_use`), since when, and the finding."},
        description="The controls are checked for each request. `failing` counts the failing ones. For admins and auditors.",
        problems=(RoleRequired,),
        tag="compliance",
    ),
    *also_head(
        Operation(
            method="GET",
            path="/health",
            name="health",
            result=Health,
            summary="Health check",
            handler=health,
            description="With a credential of an admin or an auditor, the response also contains version, "
            "storage, hardening and plugins.",
            answers={
                200: "The storage answers. `full`: nothing can be stored until its disk has room.",
                503: "The storage does not answer.",
            },
            tag="service",
        )
    ),
)
