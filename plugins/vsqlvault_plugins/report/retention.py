"""Whether expired entries are destroyed, and how soon."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.interfaces.evidence import Evidence, PurgeLag
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault_plugins.report.shape import Finding, bars, example, rows_not_at_hand, shown

LAG_LABELS = ("up to 1 hour", "up to 6 hours", "up to 1 day", "up to 2 days", "up to 7 days", "up to 30 days", "longer")
ENDING_LABELS = ("within 30 days", "31 to 90 days", "91 to 365 days", "later", "expired, not purged")


class Retention:
    """Retention by purpose, overdue entries, and the lag between expiry and purge (PCI DSS 4.0.1, 3.2.1)."""

    name = "retention_and_purge"

    def __init__(self, sweep_interval_hours: float) -> None:
        self._interval_hours = sweep_interval_hours

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Figures by purpose and in total.

        Exceptions are purposes with overdue entries, and policies without a justification.
        """
        evidence = context.evidence
        overdue = _overdue(context)
        purposes = {
            purpose: _of_purpose(context, purpose, overdue.get(purpose, 0))
            for purpose in sorted(context.retention_policies)
        }
        return Finding(
            title="Retention and timely purge",
            requirements=("3.2.1", "3.1.1"),
            supports="Stored data has a retention limit per purpose, and is destroyed with proof after it.",
            method=(
                "Entries past the earlier of their expiry and the purpose's maximum, counted at the report's time. "
                "held counts those under a legal hold. overdue counts those without a hold that have waited for "
                "longer than the grace. Lag is purged_at minus expired_at of every purge-log row of the period "
                "whose entry had expired, with percentiles by nearest rank."
            ),
            check=(
                f"GET /vault/{example(purposes, '{purpose}')}?state=expired lists what is expired and not purged of a purpose, "
                "GET /admin/retention-policies the limits, GET /admin/purge-log each purge."
            ),
            measured="period",
            population=sum(each.active + each.expired for each in evidence.holdings),
            exceptions=[
                *rows_not_at_hand(context, purpose=None, oldest_expired_at=None),
                *_late(context, overdue),
                *_without_reason(context),
                *_without_proof(context),
            ],
            figures={
                "grace_hours": self._interval_hours,
                "expired_not_purged": sum(each.expired for each in evidence.holdings),
                "held": context.held.held,
                "held_is_complete": context.held.is_complete,
                "overdue": sum(overdue.values()),
                "oldest_expired_at": shown(min(evidence.oldest_expired_at.values(), default=None)),
                "purged_in_period": sum(each.count for each in evidence.purges),
                "purged_by_reason": _summed(evidence, "reason"),
                "purged_by_method": _summed(evidence, "method"),
                "lag": _lag(evidence.lags.get(None)),
                "by_purpose": purposes,
            },
            charts=[_endings(evidence), _lags(evidence)],
        ).member(context.period)


def _of_purpose(context: ReportContext, purpose: str, overdue: int) -> dict[str, Any]:
    evidence, policy = context.evidence, context.retention_policies[purpose]
    held = [each for each in evidence.holdings if each.purpose == purpose]
    return {
        "policy": policy.reference,
        "max_retention_days": policy.max_retention_days,
        "default_ttl_days": policy.default_ttl_days,
        "purge_method": policy.purge_method,
        "justification": policy.justification,
        "legal_basis": policy.legal_basis,
        "data_class": policy.data_class,
        "allowed_access_policies": None if (allowed := policy.allowed_access_policies) is None else list(allowed),
        "max_value_bytes": policy.max_value_bytes,
        "required_metadata": list(policy.required_metadata),
        "inactivity_days": policy.inactivity_days,
        "set_by": policy.created_by,
        "set_at": shown(policy.created_at),
        "active": sum(each.active for each in held),
        "expired_not_purged": sum(each.expired for each in held),
        "held": context.held.by_purpose[purpose].held if purpose in context.held.by_purpose else 0,
        "overdue": overdue,
        "oldest_expired_at": shown(evidence.oldest_expired_at.get(purpose)),
        "purged_in_period": sum(each.count for each in evidence.purges if each.purpose == purpose),
        "lag": _lag(evidence.lags.get(purpose)),
    }


def _lag(lag: PurgeLag | None) -> dict[str, Any] | None:
    if lag is None:
        return None
    return {
        "purges": lag.count,
        "p50_seconds": _seconds(lag.p50),
        "p99_seconds": _seconds(lag.p99),
        "max_seconds": _seconds(lag.longest),
    }


def _seconds(span: timedelta) -> float:
    return span / timedelta(seconds=1)


def _summed(evidence: Evidence, by: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in evidence.purges:
        found[getattr(each, by)] = found.get(getattr(each, by), 0) + each.count
    return dict(sorted(found.items()))


def _late(context: ReportContext, overdue: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "purpose": purpose,
            "what": "entries overdue for purge",
            "count": count,
            "oldest_expired_at": shown(_oldest_due(context, purpose)),
        }
        for purpose, count in sorted(overdue.items())
        if count
    ]


def _overdue(context: ReportContext) -> dict[str, int]:
    """Count overdue entries without a hold. Holds are read just after the entries were counted."""
    counts: dict[str, int] = {}
    for each in context.evidence.holdings:
        counts[each.purpose] = counts.get(each.purpose, 0) + each.overdue
    held = {purpose: each.overdue for purpose, each in context.held.by_purpose.items()}
    return {purpose: max(count - held.get(purpose, 0), 0) for purpose, count in counts.items()}


def _oldest_due(context: ReportContext, purpose: str) -> datetime | None:
    held = context.held.by_purpose.get(purpose)
    return (held.oldest_due_at if held else None) or context.evidence.oldest_expired_at.get(purpose)


def _without_reason(context: ReportContext) -> list[dict[str, Any]]:
    return [
        {
            "purpose": purpose,
            "what": "retention policy without a justification",
            "count": 1,
            "oldest_expired_at": None,
        }
        for purpose, policy in sorted(context.retention_policies.items())
        if not policy.justification
    ]


def _without_proof(context: ReportContext) -> list[dict[str, Any]]:
    count = context.entry_statistics.purges_without_proof
    return (
        [{"purpose": None, "what": "purges without proof", "count": count, "oldest_expired_at": None}] if count else []
    )


def _endings(evidence: Evidence) -> dict[str, Any]:
    rows: dict[str, list[int]] = {}
    for each in evidence.holdings:
        row = rows.setdefault(each.purpose, [0] * len(ENDING_LABELS))
        first, second, third = each.ending
        for place, count in enumerate((first, second - first, third - second, each.active - third, each.expired)):
            row[place] += count
    return bars("Entries by purpose, by when they expire", "entries", ENDING_LABELS, sorted(rows.items()))


def _lags(evidence: Evidence) -> dict[str, Any]:
    counts = list(evidence.lag_histogram)
    rows = [(label, [count]) for label, count in zip(LAG_LABELS, counts, strict=True)] if any(counts) else []
    return bars("Time from expiry to purge, in the period", "purges", ["purges"], rows)
