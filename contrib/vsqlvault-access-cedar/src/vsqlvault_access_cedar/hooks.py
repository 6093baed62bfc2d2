"""The hooks of the plugin."""

from __future__ import annotations

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_access_cedar.evaluator import CedarEvaluator


@hookimpl
def vault_access_policies() -> list[PolicyEvaluator]:
    """Return the evaluator ``cedar``."""
    return [CedarEvaluator()]


@hookimpl
def vault_process_needs() -> list[ProcessNeeds]:
    """Declare that the plugin needs only time zones, which every vault can read."""
    return []
