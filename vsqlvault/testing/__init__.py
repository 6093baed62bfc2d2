"""The test kit for plugin authors: sample values, a running vault, a storage that fails on demand, and conformance
classes.

The conformance classes need pytest, and ``StorageStateMachine`` needs Hypothesis. The rest has the dependencies of the
vault. Each name is loaded when it is first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsqlvault.testing.authenticator_conformance import AuthenticatorCase, AuthenticatorConformance
    from vsqlvault.testing.faults import Fault, FaultyStorage
    from vsqlvault.testing.plugin_conformance import PluginConformance
    from vsqlvault.testing.policy_evaluator_conformance import EvaluatorCase, PolicyEvaluatorConformance
    from vsqlvault.testing.purge_method_conformance import PurgeMethodConformance
    from vsqlvault.testing.report_section_conformance import ReportSectionConformance
    from vsqlvault.testing.running import RunningVault, VaultClient, running_vault
    from vsqlvault.testing.samples import (
        T0,
        a_call,
        a_control_change,
        a_legal_hold,
        a_principal,
        a_purge_record,
        a_retention_policy,
        a_scrub,
        a_sweep,
        a_write,
        an_access_policy,
        an_access_record,
        an_api_key,
        an_attestation,
        an_entry,
        an_id,
        storing,
    )
    from vsqlvault.testing.settings import settings_with
    from vsqlvault.testing.storage.capabilities import StorageCapabilities
    from vsqlvault.testing.storage.conformance import StorageConformance
    from vsqlvault.testing.storage.faults import FaultConformance
    from vsqlvault.testing.storage.state_machine import StorageStateMachine
    from vsqlvault.testing.vaults import a_vault, offering

__all__ = [
    "T0",
    "AuthenticatorCase",
    "AuthenticatorConformance",
    "EvaluatorCase",
    "Fault",
    "FaultConformance",
    "FaultyStorage",
    "PluginConformance",
    "PolicyEvaluatorConformance",
    "PurgeMethodConformance",
    "ReportSectionConformance",
    "RunningVault",
    "StorageCapabilities",
    "StorageConformance",
    "StorageStateMachine",
    "VaultClient",
    "a_call",
    "a_control_change",
    "a_legal_hold",
    "a_principal",
    "a_purge_record",
    "a_retention_policy",
    "a_scrub",
    "a_sweep",
    "a_vault",
    "a_write",
    "an_access_policy",
    "an_access_record",
    "an_api_key",
    "an_attestation",
    "an_entry",
    "an_id",
    "offering",
    "running_vault",
    "settings_with",
    "storing",
]

_HOMES = {
    "AuthenticatorCase": "authenticator_conformance",
    "AuthenticatorConformance": "authenticator_conformance",
    "EvaluatorCase": "policy_evaluator_conformance",
    "Fault": "faults",
    "FaultConformance": "storage.faults",
    "FaultyStorage": "faults",
    "PluginConformance": "plugin_conformance",
    "PolicyEvaluatorConformance": "policy_evaluator_conformance",
    "PurgeMethodConformance": "purge_method_conformance",
    "ReportSectionConformance": "report_section_conformance",
    "RunningVault": "running",
    "StorageCapabilities": "storage.capabilities",
    "StorageConformance": "storage.conformance",
    "StorageStateMachine": "storage.state_machine",
    "VaultClient": "running",
    "a_vault": "vaults",
    "offering": "vaults",
    "running_vault": "running",
    "settings_with": "settings",
}
_ASSERTING = (
    "authenticator_conformance",
    "driving",
    "plugin_conformance",
    "policy_evaluator_conformance",
    "purge_method_conformance",
    "report_section_conformance",
    "storage.api_keys",
    "storage.entry_statistics",
    "storage.clock",
    "storage.commits",
    "storage.cursors",
    "storage.entries",
    "storage.evidence",
    "storage.faults",
    "storage.key_refs",
    "storage.kills",
    "storage.logs",
    "storage.places",
    "storage.reads",
    "storage.policy_snapshot",
    "storage.state_machine",
    "storage.tree",
    "storage.watching",
)


def __getattr__(name: str) -> Any:
    """Load a name on first use. With pytest running, its assertions are rewritten."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = {f"{__name__}.{module}" for module in _ASSERTING}
    if "pytest" in sys.modules and (waiting := modules - set(sys.modules)):
        sys.modules["pytest"].register_assert_rewrite(*waiting)
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'samples')}"), name)
