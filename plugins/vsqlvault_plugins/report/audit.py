"""The content of the logs, denials, and policy changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vsqlvault.interfaces.evidence import AccessCount
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.log_archive import ArchivedRows
from vsqlvault.model.principal import SYSTEM, Role
from vsqlvault.model.times import format_time
from vsqlvault_plugins.report.shape import MAX_LISTED, Finding, bars, example, rows_not_at_hand, shown

_CHANGES_OF_CREDENTIALS = frozenset({
    "create-api-key", "revoke-api-key", "rotate-signing-key", "credential-added", "credential-changed", "credential-removed",
})  # fmt: skip
_LIFE_OF_SERVERS = frozenset({
    "server-started", "server-stopped", "settings-reloaded", "schema-migrated", "plugins-loaded", "audit-gap", "control-failed",
})  # fmt: skip
CLASSES: Mapping[str, tuple[str, frozenset[str]]] = {
    "10.2.1.1": ("access to entries", frozenset({"store", "update", "retrieve", "inspect", "list", "purge", "import"})),
    "10.2.1.3": (
        "access to the logs",
        frozenset(
            {
                "read-access-log",
                "read-purge-log",
                "read-report",
                "read-transparency-log",
                "read-receipt",
                "export-evidence",
            }
        ),
    ),
    "10.2.1.5": ("changes of credentials", _CHANGES_OF_CREDENTIALS),
    "10.2.1.6": ("starts, stops and interruptions of logging, and failures of controls", _LIFE_OF_SERVERS),
}
ADMINS = "10.2.1.2"
DENIED = "10.2.1.4"
TWELVE_MONTHS_DAYS = 365
ITSELF = "(the vault itself)"
NO_ROLE = "(no role)"


class AuditCoverage:
    """Rows by class of event, and whether they are complete (PCI DSS 4.0.1, 10.2)."""

    name = "audit_coverage"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Counts by class and operation. Exceptions are granted rows with missing fields, and gaps in the log."""
        access = context.evidence.access
        return Finding(
            title="Audit coverage and completeness",
            requirements=(
                "10.2.1.1",
                "10.2.1.2",
                "10.2.1.3",
                "10.2.1.4",
                "10.2.1.5",
                "10.2.1.6",
                "10.2.2",
            ),
            supports=(
                "The rows of the period have the fields that they must have, for each class of events that has rows, and no "
                "gap is recorded."
            ),
            method=(
                "Rows of the access log of the period by operation and outcome. Time, request id, operation, outcome and "
                "status are always present, and a row is committed before the response. Counted are the fields that can be "
                "missing: the app, the client's address, and the entry of an operation on one entry. Rows of rejected "
                "credentials have no app, because the caller is not authenticated. The actions of administrators are the rows "
                "of callers whose credential had the role admin, whatever the operation. Commands on the host run as the vault "
                "itself, and a row from before the vault recorded roles has none."
            ),
            check=(
                f"GET /admin/access-log?operation={example((each.operation for each in access), 'NAME')} has the rows of an "
                "operation, as NDJSON or CSV too."
            ),
            measured="period",
            population=sum(each.rows for each in access),
            exceptions=[
                *rows_not_at_hand(context, operation="drop-archived"),
                *_incomplete(access),
                *_unaudited(access),
            ],
            figures={
                "rows": sum(each.rows for each in access),
                "events": sum(each.events for each in access),
                "by_class": _by_class(access),
                "classes_without_rows": [number for number, each in _by_class(access).items() if not each["rows"]],
                "by_role": _by_role(access),
                "by_admins": _ranked([each for each in access if each.role == Role.ADMIN], lambda each: each.operation),
                "by_operation": _by_operation(access),
            },
        ).member(context.period)


class LogHistory:
    """The age of the oldest rows that are stored, and where older ones are (PCI DSS 4.0.1, 10.5.1)."""

    name = "log_history"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The oldest row of each log. A history shorter than twelve months is not assessed.

        Of rows that were dropped, some stay because something needs them. So the history at hand begins after the newest
        dropped row.
        """
        oldest, archived = context.evidence.oldest_access_at, context.archived
        since = archived.newest_row_at if archived and oldest else oldest
        days = max(0, (context.as_of - since).days) if since else None
        return Finding(
            title="History of the logs",
            requirements=("10.5.1",),
            supports="The access log has rows of the last twelve months, and all of them can be read at once.",
            method=(
                "The oldest stored row of each log, or, if archived rows were dropped, the newest dropped one. Its age is "
                "compared with twelve months (365 days). If the history is shorter, the operator of the vault has to show the "
                "archives, or since when the vault runs. Dropped rows are counted from the records of the drops."
            ),
            check=(
                "GET /admin/access-log?order=asc&limit=1 has the oldest row, and GET /admin/purge-log?order=asc&limit=1. "
                "vsql-vault verify --archive DIR verifies the archives with the log."
            ),
            measured="as_of",
            population=sum(at is not None for at in (oldest, context.evidence.oldest_purge_at)),
            owner=None if days is not None and days >= TWELVE_MONTHS_DAYS else "the operator of the vault",
            figures={
                "oldest_access_row_at": shown(oldest),
                "oldest_purge_row_at": shown(context.evidence.oldest_purge_at),
                "days_at_hand": days,
                "archived": _archived(archived),
            },
        ).member(context.period)


class DeniedAccess:
    """Denied operations and rejected credentials, by reason (PCI DSS 4.0.1, 10.2.1.4)."""

    name = "denied_access"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Counts by reason, operation, app and purpose."""
        denied = [each for each in context.evidence.access if each.outcome == "denied"]
        events = sum(each.events for each in denied)
        reasons = _ranked(denied, lambda each: each.reason or "(no reason)")
        return Finding(
            title="Denied access",
            requirements=("10.2.1.4",),
            supports="Denied requests and rejected credentials of the period are recorded with their reasons.",
            method=(
                "Denied rows of the access log of the period. Rejected credentials of one address within a second "
                "share a row with a count; events counts each of them. A purpose without a retention policy counts "
                "as none."
            ),
            check="GET /admin/access-log?outcome=denied has the rows.",
            measured="period",
            population=events,
            exceptions=rows_not_at_hand(context, operation="drop-archived"),
            figures={
                "denied_rows": sum(each.rows for each in denied),
                "denied_events": events,
                "by_reason": reasons,
                "by_operation": _ranked(denied, lambda each: each.operation),
                "by_app": _ranked(denied, lambda each: each.app or "(not authenticated)"),
                "by_purpose": _ranked(denied, lambda each: each.purpose or "(none)"),
                "last_at": shown(max((each.last_at for each in denied), default=None)),
            },
            charts=[
                bars(
                    "Denials by reason",
                    "events",
                    ["events"],
                    [(name, [count]) for name, count in list(reasons.items())[:12]],
                )
            ],
        ).member(context.period)


class PolicyChanges:
    """Versions of policies created in the period (PCI DSS 4.0.1, 3.1.1, 10.2.1.2)."""

    name = "policy_changes"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The changes of the period, oldest first, and the number of policies in force."""
        evidence = context.evidence
        changes = sorted(
            evidence.policy_changes, key=lambda each: (each.changed_at, each.kind, each.name, each.version)
        )
        return Finding(
            title="Policy changes",
            requirements=("3.1.1", "10.2.1.2"),
            supports=(
                "Policies are versioned. Each change has an author and a time, and a row with the old and "
                "the new value."
            ),
            method="Versions of access and retention policies created in the period.",
            check=(
                f"GET /admin/access-policies/{example(context.access_policies, '{name}')}/versions and GET "
                f"/admin/retention-policies/{example(context.retention_policies, '{purpose}')}/versions have versions."
            ),
            measured="period",
            population=evidence.policy_changes_count,
            figures={
                "changes": evidence.policy_changes_count,
                "retention_policies_in_force": len(context.retention_policies),
                "access_policies_in_force": len(context.access_policies),
                "built_in_access_policies": sum(policy.built_in for policy in context.access_policies.values()),
                "listed": [
                    {
                        "at": format_time(each.changed_at),
                        "kind": each.kind,
                        "name": each.name,
                        "version": each.version,
                        "change": "deleted" if each.dropped else "created" if each.version == 1 else "changed",
                        "by": each.changed_by,
                    }
                    for each in changes[:MAX_LISTED]
                ],
                "not_listed": max(0, evidence.policy_changes_count - MAX_LISTED),
            },
        ).member(context.period)


def _archived(archived: ArchivedRows | None) -> dict[str, Any] | None:
    if archived is None:
        return None
    return {
        "archives": archived.archives,
        "rows": archived.absent_rows,
        "leaves_below": archived.end,
        "newest_row_at": format_time(archived.newest_row_at),
        "places": list(archived.places[:MAX_LISTED]),
        "min_days_at_hand": archived.min_days,
        "period_set_by": archived.min_days_from,
        "last_enforced_at": format_time(archived.enforced_at),
        "last_enforced_by": archived.enforced_by,
    }


def _by_class(access: Sequence[AccessCount]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, (label, operations) in CLASSES.items():
        rows = [each for each in access if each.operation in operations]
        found[number] = {"events": label, "rows": sum(each.rows for each in rows)}
    denied = sum(each.rows for each in access if each.outcome == "denied")
    by_admins = [each for each in access if each.role == Role.ADMIN]
    found[ADMINS] = {
        "events": "every operation of a caller with the role admin, on entries too",
        "rows": sum(each.rows for each in by_admins),
    }
    found[DENIED] = {"events": "denied operations and rejected credentials", "rows": denied}
    return dict(sorted(found.items()))


def _by_role(access: Sequence[AccessCount]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in access:
        name = each.role or (ITSELF if each.app == SYSTEM.app else NO_ROLE)
        found[name] = found.get(name, 0) + each.rows
    return dict(sorted(found.items()))


def _by_operation(access: Sequence[AccessCount]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in access:
        row = found.setdefault(
            each.operation,
            {"granted": 0, "denied": 0, "without_app": 0, "without_origin": 0, "without_subject": 0},
        )
        row[each.outcome] += each.rows
        for name in ("without_app", "without_origin", "without_subject"):
            row[name] += getattr(each, name)
    return dict(sorted(found.items()))


def _incomplete(access: Sequence[AccessCount]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], int] = {}
    for each in access:
        if each.outcome == "granted":
            for name in ("without_app", "without_origin", "without_subject"):
                if count := getattr(each, name):
                    key = each.operation, f"granted row {name.replace('_', ' ')}"
                    found[key] = found.get(key, 0) + count
    return [
        {"operation": operation, "what": what, "count": count} for (operation, what), count in sorted(found.items())
    ]


def _unaudited(access: Sequence[AccessCount]) -> list[dict[str, Any]]:
    missed = sum(each.events for each in access if each.operation == "audit-gap")
    what = "requests answered 503 or 507 while no row could be committed"
    return [{"operation": "audit-gap", "what": what, "count": missed}] if missed else []


def _ranked(denied: Sequence[AccessCount], name: Callable[[AccessCount], str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in denied:
        found[name(each)] = found.get(name(each), 0) + each.events
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_LISTED])
