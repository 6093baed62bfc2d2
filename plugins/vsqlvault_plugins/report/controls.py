"""The controls: their states and their failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.control import Acknowledgement, ControlChange, ControlState
from vsqlvault.model.times import format_time
from vsqlvault_plugins.report.shape import MAX_LISTED, Finding, shown


class Controls:
    """The recorded states of the controls (PCI DSS 4.0.1, 10.7.2 and 10.7.3)."""

    name = "controls"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The state of each control, and the failures of the period with end, cause and remedy.

        Exceptions are ongoing failures, and ended ones without a recorded cause and remedy.
        """
        states = {change.name: change for change in context.control_states}
        failing = [change for _, change in sorted(states.items()) if change.state is ControlState.FAILING]
        changes = sorted(context.control_changes, key=lambda change: (change.at, change.name, change.number))
        failures = _failures(changes, states, _newest(context))
        unexplained = [each for each in failures if each["cause"] is None and each["ended_at"] is not None]
        return Finding(
            title="Controls and their failures",
            requirements=("10.7.2", "10.7.3"),
            supports=(
                "No control fails now. Each failure that began in the period has a recorded start, end, cause and "
                "remedy."
            ),
            method=(
                "The recorded changes of each control: its current state, and the failures that began in the "
                "period. GET /health/controls checks the controls at the time of the request. Cause and remedy are what an "
                "admin recorded for the failure in the period."
            ),
            check="GET /health/controls checks them now, GET /admin/access-log?operation=control-failed has the failures.",
            measured="now",
            population=len(states),
            exceptions=[
                *(
                    {"control": change.name, "since": format_time(change.at), "what": change.detail}
                    for change in failing
                ),
                *(
                    {"control": each["control"], "since": each["began_at"], "what": "no cause and remedy is recorded"}
                    for each in unexplained
                ),
            ],
            figures={
                "controls": [_shown(name, ids, states.get(name)) for name, ids in context.controls.items()],
                "failures_in_period": len(failures),
                "failures": failures[:MAX_LISTED],
            },
        ).member(context.period)


def _shown(name: str, requirements: Sequence[str], change: ControlChange | None) -> dict[str, Any]:
    return {
        "control": name,
        "state": change.state.value if change else "not checked yet",
        "since": shown(change.at if change else None),
        "what": change.detail if change and change.state is not ControlState.OK else None,
        "requirements": ", ".join(requirements),
    }


def _newest(context: ReportContext) -> dict[tuple[str, datetime], Acknowledgement]:
    """Return the newest acknowledgement of each failure."""
    found: dict[tuple[str, datetime], Acknowledgement] = {}
    for each in sorted(context.acknowledgements, key=lambda each: (each.at, each.cause, each.remedy)):
        found[each.control, each.failed_at] = each
    return found


def _failures(
    changes: Sequence[ControlChange],
    states: Mapping[str, ControlChange],
    acknowledged: Mapping[tuple[str, datetime], Acknowledgement],
) -> list[dict[str, Any]]:
    """Return the failures in the order of their start. An ongoing failure has no end.

    If the end of a failure is not among the changes, it is known if the control's newest change is that end.
    """
    ends = {(change.name, change.number): change.at for change in (*changes, *states.values())}
    return [
        {
            "control": change.name,
            "began_at": format_time(change.at),
            "ended_at": shown(end := ends.get((change.name, change.number + 1))),
            "lasted_seconds": _seconds(change.at, end),
            "what": change.detail,
            **_explained(acknowledged.get((change.name, change.at))),
        }
        for change in changes
        if change.state is ControlState.FAILING
    ]


def _explained(found: Acknowledgement | None) -> dict[str, Any]:
    return {
        "cause": found.cause if found else None,
        "remedy": found.remedy if found else None,
        "acknowledged_by": found.identity or found.app if found else None,
        "acknowledged_at": shown(found.at if found else None),
    }


def _seconds(began_at: datetime, ended_at: datetime | None) -> int | None:
    return None if ended_at is None else int((ended_at - began_at).total_seconds())
