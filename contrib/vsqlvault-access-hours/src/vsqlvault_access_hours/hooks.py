"""The hooks of the plugin."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.observer import Observer
from vsqlvault.model.audit import AccessRecord, Outcome
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_access_hours.evaluator import OUTSIDE, OfficeHoursEvaluator

log = logging.getLogger(__name__)


@hookimpl
def vault_access_policies() -> list[PolicyEvaluator]:
    """Return the evaluator ``office-hours``."""
    return [OfficeHoursEvaluator()]


@hookimpl
def vault_process_needs() -> list[ProcessNeeds]:
    """Declare that the plugin needs only time zones, which every vault can read."""
    return []


class HoursObserver(Observer):
    """Warns of each retrieval that the hours denied: who, what for, and under which request id; not of which entry."""

    name = "office-hours"

    async def access(self, records: Sequence[AccessRecord]) -> None:
        """See ``Observer.access``."""
        for record in records:
            if record.outcome is Outcome.DENIED and record.reason == OUTSIDE:
                log.warning(
                    "retrieval outside office hours denied",
                    extra={"app": record.app, "purpose": record.purpose, "request_id": record.request_id},
                )


@hookimpl
def vault_observers() -> list[Observer]:
    """Return the observer of denied retrievals."""
    return [HoursObserver()]
