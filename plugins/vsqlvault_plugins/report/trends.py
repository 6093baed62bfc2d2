"""The activity of each day of the period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from vsqlvault.interfaces.evidence import DayCount
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault_plugins.report.shape import Finding, rows_not_at_hand

READER = "the reader: counts by day show what is unusual, and support no requirement by themselves"
KINDS = ("stored", "retrieved", "denied", "purged")


class Trends:
    """Values stored and retrieved, denials and purges of each day."""

    name = "trends"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Each day with activity. Not assessed: the counts are no evidence of a requirement."""
        days = sorted(context.evidence.days, key=lambda each: each.day)
        return Finding(
            title="Activity by day",
            requirements=(),
            supports="The activity of each day can be compared with the days around it.",
            method=(
                "Rows of the logs of the period by day in UTC: granted stores and retrievals, denials as in the section on "
                "denied access, and rows of the purge log. Imports are not counted. A day without any is left out."
            ),
            check=f"GET /admin/access-log?{_limits(days)} has the rows of a day, and GET /admin/purge-log its purges.",
            measured="period",
            population=sum(sum(getattr(each, kind) for kind in KINDS) for each in days),
            exceptions=rows_not_at_hand(context),
            owner=READER,
            figures={
                "total": {kind: sum(getattr(each, kind) for each in days) for kind in KINDS},
                "days_with_activity": len(days),
                "days": [
                    {"day": each.day.isoformat(), **{kind: getattr(each, kind) for kind in KINDS}} for each in days
                ],
            },
        ).member(context.period)


def _limits(days: Sequence[DayCount]) -> str:
    """Return the parameters of a query for the last day of the report."""
    if not days:
        return "since=DAY&until=NEXT"
    day = days[-1].day
    return f"since={day}T00:00:00Z&until={day + timedelta(days=1)}T00:00:00Z"
