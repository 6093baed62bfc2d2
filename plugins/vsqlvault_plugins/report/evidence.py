"""The report members that the specification names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vsqlvault.config import Settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.report_section import ReportContext, ReportSection
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.model.times import format_time
from vsqlvault_plugins.report.access_review import AccessReview, DefaultDeny
from vsqlvault_plugins.report.attestations import Attestations
from vsqlvault_plugins.report.audit import AuditCoverage, DeniedAccess, LogHistory, PolicyChanges
from vsqlvault_plugins.report.certificates import Certificates, Cryptography
from vsqlvault_plugins.report.controls import Controls
from vsqlvault_plugins.report.credentials import Credentials
from vsqlvault_plugins.report.database_roles import DatabaseRoles
from vsqlvault_plugins.report.identities import (
    Factors,
    Identities,
    RejectedCredentials,
    UnusedCredentials,
    UserAccounts,
)
from vsqlvault_plugins.report.inventory import Software, Technologies
from vsqlvault_plugins.report.keys import KeyInventory
from vsqlvault_plugins.report.log_integrity import LogIntegrity
from vsqlvault_plugins.report.retention import Retention
from vsqlvault_plugins.report.reviews import BulkAccess, DataClasses, LogReview, TimeSettings
from vsqlvault_plugins.report.shape import example
from vsqlvault_plugins.report.stored_data import StoredData
from vsqlvault_plugins.report.sweeps import Sweeps
from vsqlvault_plugins.report.system import NotAssessed, SystemState
from vsqlvault_plugins.report.trends import Trends


class Summary:
    """The number of entries, and of entries purged recently."""

    name = "summary"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Count the entries. ``total_entries`` is the sum of the three other numbers, as in the specification."""
        entry_statistics = context.entry_statistics
        active = sum(of.active for of in entry_statistics.by_purpose.values())
        expired = sum(of.expired_pending_purge for of in entry_statistics.by_purpose.values())
        return {
            "total_entries": active + expired + entry_statistics.purged_last_30_days,
            "active_entries": active,
            "expired_pending_purge": expired,
            "purged_last_30_days": entry_statistics.purged_last_30_days,
        }


class ByPurpose:
    """The entries of each purpose, their retention and their keys."""

    name = "by_purpose"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """One member for each purpose with a retention policy."""
        return {
            purpose: {
                "active": of.active,
                "retention_policy": context.retention_policies[purpose].summary,
                "entries_expiring_next_30_days": of.expiring_next_30_days,
                "key_refs": dict(sorted(of.key_refs.items())),
            }
            for purpose, of in sorted(context.entry_statistics.by_purpose.items())
        }


class PurgeCompliance:
    """Whether expired entries are destroyed, with proof."""

    name = "purge_compliance"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The last sweep and whether it completed, whether every purge row has its proof, and the last scrub with the
        purged bytes that it left in the data files.
        """
        sweep, scrub = context.last_sweep, context.last_scrub
        return {
            "purge_sweep_last_run": format_time(sweep.finished_at) if sweep else None,
            "purge_sweep_completed": sweep.completed if sweep else None,
            "entries_purged_last_sweep": sweep.purged if sweep else 0,
            "purge_proof_available": context.entry_statistics.purges_without_proof == 0,
            "scrub_last_run": format_time(scrub.finished_at) if scrub else None,
            "scrub_completed": scrub.completed if scrub else None,
            "scrub_left": scrub.left if scrub else None,
        }


class UndefinedPolicies:
    """Entries whose access policy is undefined, so that owner-only rules apply."""

    name = "undefined_access_policies"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The number of entries by the policy that they name."""
        counts = dict(sorted(context.entry_statistics.entries_by_undefined_policy.items()))
        purpose = example(context.retention_policies, "{purpose}")
        return {
            "entries_by_policy": counts,
            "method": "Entries not purged, by the access policy that they name, if it is not defined.",
            "check": (
                f"GET /vault/{purpose}?access_policy={example(counts, 'NAME')} lists the entries of a purpose that name one, "
                "GET /admin/access-policies the defined policies."
            ),
        }


class Hardening:
    """The sandbox of the process that writes the report."""

    name = "hardening"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The state of each step, with what is in force or the reason why it is off."""
        return {
            "steps": {step.name: {"state": step.state, "detail": step.detail} for step in context.hardening},
            "method": "What the process that writes the report has put in force. A command on the host has no steps.",
            "check": "GET /health has the steps of the server, the file /proc/PID/status those that the kernel shows.",
        }


class LegalHolds:
    """The legal holds, with start and reason, and the expired entries that they keep."""

    name = "legal_holds"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The holds in force, and the expired entries that each keeps.

        An entry under two holds counts with each, and once in ``expired_held``. ``held_at_last_sweep`` counts those
        that the last sweep kept.
        """
        sweep, held = context.last_sweep, context.held
        return {
            "method": (
                "Legal holds in force, and the expired entries that each keeps. held_at_last_sweep is what the last sweep kept."
            ),
            "check": (
                "GET /admin/legal-holds lists the holds, "
                f"GET /admin/legal-holds/{example(context.legal_holds, '{name}')}/entries?state=expired what one keeps."
            ),
            "active": len(context.legal_holds),
            "expired_held": held.held,
            "expired_held_is_complete": held.is_complete,
            "held_at_last_sweep": sweep.held if sweep else None,
            "holds": [
                {**_hold(hold, context.as_of), "expired_held": held.by_hold.get(name, 0)}
                for name, hold in sorted(context.legal_holds.items())
            ],
        }


def _hold(hold: LegalHold, as_of: datetime) -> dict[str, Any]:
    selector = hold.selector
    return {
        "name": hold.name,
        "version": hold.version,
        "case_reference": hold.case_reference,
        "reason": hold.reason,
        "selects_by": [
            name for name in ("purpose", "external_id", "owner_app", "metadata") if getattr(selector, name) is not None
        ],
        "purpose": selector.purpose,
        "owner_app": selector.owner_app,
        "held_since": format_time(hold.held_since) if hold.held_since else None,
        "age_days": max((as_of - hold.held_since).days, 0) if hold.held_since else None,
        "last_changed_by": hold.created_by,
        "last_changed_at": format_time(hold.created_at) if hold.created_at else None,
    }


@hookimpl
def vault_process_needs() -> list[ProcessNeeds]:
    """Declare that the plugin needs no files or ports."""
    return []


@hookimpl
def vault_report_sections(settings: Settings) -> list[ReportSection]:
    """Return the specified members first, and then the other sections."""
    return [
        Summary(),
        ByPurpose(),
        PurgeCompliance(),
        Retention(settings.purge.sweep_interval_hours),
        Sweeps(settings.purge.sweep_interval_hours),
        DataClasses(),
        StoredData(),
        Cryptography(settings),
        KeyInventory(settings.compliance),
        AccessReview(),
        DefaultDeny(),
        BulkAccess(),
        DatabaseRoles(),
        UserAccounts(),
        Identities(),
        Credentials(settings.auth.api_key_max_age_days),
        UnusedCredentials(),
        RejectedCredentials(settings),
        Factors(),
        AuditCoverage(),
        LogReview(),
        LogHistory(),
        LogIntegrity(settings.audit.verify_interval_hours),
        Controls(),
        Attestations(settings.compliance.attestation_interval_days),
        Trends(),
        DeniedAccess(),
        PolicyChanges(),
        UndefinedPolicies(),
        LegalHolds(),
        TimeSettings(),
        SystemState(settings.server),
        Certificates(settings.server),
        Hardening(),
        Software(),
        Technologies(),
        NotAssessed(),
    ]
