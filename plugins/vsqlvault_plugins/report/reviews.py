"""Who reads in bulk, who reads the logs, changes of the clock, and the classes of the stored data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vsqlvault.interfaces.evidence import AccessCount
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault_plugins.report.shape import MAX_LISTED, Finding, example, rows_not_at_hand, shown

READS = ("retrieve", "list", "inspect")
LOG_READS = ("read-access-log", "read-purge-log", "export-evidence")
CLOCK_ROWS = {
    "clock-jump": "jumps of the clock",
    "clock-backwards": "steps back of the clock",
    "confirm-clock": "confirmations of the clock by an admin",
}
SENSITIVE = re.compile(r"\b(sad|sensitive authentication|cvv2?|cvc2?|cid|cav2|track|pin|pin block)\b", re.IGNORECASE)
WITHOUT = "(no data class)"
DATABASE = "the operator of the database: the vault cannot see who queries its tables directly"
SECURITY_TEAM = "the security team: the vault cannot know whether a machine reviews the rows that it gives out"
HOST = "the operator of the host: who may change the settings of time synchronisation"
APPS = "the owners of the apps: the vault cannot read the values that they store"


def _queries(operations: Sequence[str]) -> str:
    """Return the queries whose rows are the granted ones of the operations."""
    named = [f"GET /admin/access-log?outcome=granted&operation={each}" for each in operations]
    return f"{', '.join(named[:-1])} and {named[-1]}"


class BulkAccess:
    """Who read how many entries (PCI DSS 4.0.1, 7.2.6)."""

    name = "bulk_access"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Granted reads by app, the largest readers first. Not assessed: access past the vault is not seen."""
        granted = [each for each in context.evidence.access if each.outcome == "granted" and each.operation in READS]
        by_app: dict[str, dict[str, int]] = {}
        for each in granted:
            row = by_app.setdefault(each.app or "(not authenticated)", dict.fromkeys(READS, 0))
            row[each.operation] += each.rows
        ranked = sorted(by_app.items(), key=lambda item: (-sum(item[1].values()), item[0]))
        return Finding(
            title="Readers of the repository",
            requirements=("7.2.6",),
            supports="Entries are read through the vault, and each read is decided by a policy.",
            method=(
                "Granted rows of the access log of the period by app: values retrieved, pages of lists, and metadata read. "
                "Queries of the database itself, with a role of the database or as the owner of its file, pass the vault "
                "by and have no row."
            ),
            check=(
                f"{_queries(READS)} have the rows; with app={example((each.app for each in granted), 'NAME')} too, those of "
                "one app."
            ),
            measured="period",
            population=sum(each.rows for each in granted),
            exceptions=rows_not_at_hand(context),
            owner=DATABASE,
            figures={
                "reads": sum(each.rows for each in granted),
                "readers": len(by_app),
                "listed": [{"app": app, **row} for app, row in ranked[:MAX_LISTED]],
            },
        ).member(context.period)


class LogReview:
    """Who read the logs (PCI DSS 4.0.1, 10.3.1, 10.4.1.1)."""

    name = "log_review"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Granted reads of the logs by app. Not assessed: reading is no review."""
        read = [each for each in context.evidence.access if each.outcome == "granted" and each.operation in LOG_READS]
        return Finding(
            title="Readers of the logs",
            requirements=("10.3.1", "10.4.1.1"),
            supports="The logs can be read by a machine, and each read has a row.",
            method=(
                "Granted rows of the period that read or exported a log, by app. Whether an automated mechanism reviews "
                "what was read is not visible to the vault."
            ),
            check=f"{_queries(LOG_READS)} have a row for each read.",
            measured="period",
            population=sum(each.rows for each in read),
            exceptions=rows_not_at_hand(context),
            owner=SECURITY_TEAM,
            figures={
                "reads": sum(each.rows for each in read),
                "by_app": _by_app(read),
                "last_at": shown(max((each.last_at for each in read), default=None)),
            },
        ).member(context.period)


class TimeSettings:
    """Jumps and steps of the storage clock (PCI DSS 4.0.1, 10.6.3)."""

    name = "time_settings"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Rows about the clock. Exceptions are jumps and steps back."""
        counts = dict.fromkeys(CLOCK_ROWS, 0)
        for each in context.evidence.access:
            if each.operation in counts:
                counts[each.operation] += each.events
        return Finding(
            title="Changes of the clock",
            requirements=("10.6.3",),
            supports="Jumps of the storage's clock are noticed, and each has a row.",
            method=(
                "Rows of the access log of the period about the clock of the storage. The settings of time "
                "synchronisation belong to the host, and the vault cannot see who changes them. These rows are never dropped."
            ),
            check="GET /admin/access-log?operation=clock-jump has the jumps, and clock-backwards the steps back.",
            measured="period",
            population=sum(each.rows for each in context.evidence.access),
            exceptions=[
                {"what": CLOCK_ROWS[name], "count": counts[name]}
                for name in ("clock-jump", "clock-backwards")
                if counts[name]
            ],
            owner=HOST,
            figures=counts,
        ).member(context.period)


class DataClasses:
    """The entries by the class of data that their purpose names (PCI DSS 4.0.1, 3.3.1)."""

    name = "data_classes"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Entries by data_class. Exceptions are purposes whose class names sensitive authentication data."""
        classes = {name: policy.data_class or WITHOUT for name, policy in context.retention_policies.items()}
        counts = _entries(context)
        by_class: dict[str, int] = {}
        for purpose, count in counts.items():
            name = classes.get(purpose, WITHOUT)
            by_class[name] = by_class.get(name, 0) + count
        ranked = sorted(by_class.items(), key=lambda item: (-item[1], item[0]))
        return Finding(
            title="Classes of stored data",
            requirements=("3.3.1",),
            supports="The data class that each purpose declares is known, and none is sensitive authentication data.",
            method=(
                "Entries not purged, by the data_class of their purpose's retention policy. A class that names sensitive "
                "authentication data (such as CVV, track or PIN) is an exception. What a value contains is not visible."
            ),
            check=(
                "GET /admin/retention-policies has the data_class of each purpose, "
                f"GET /vault/{example(counts, '{purpose}')} the entries of one."
            ),
            measured="as_of",
            population=sum(counts.values()),
            exceptions=[
                {"purpose": purpose, "what": "its data_class names sensitive authentication data", "count": count}
                for purpose, count in sorted(counts.items())
                if count and SENSITIVE.search(classes.get(purpose, ""))
            ],
            owner=APPS,
            figures={
                "entries_by_data_class": dict(ranked[:MAX_LISTED]),
                "purposes_without_data_class": sorted(_without(counts, classes))[:MAX_LISTED],
            },
        ).member(context.period)


def _entries(context: ReportContext) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in context.evidence.holdings:
        found[each.purpose] = found.get(each.purpose, 0) + each.active + each.expired
    return found


def _without(counts: Mapping[str, int], classes: Mapping[str, str]) -> Iterable[str]:
    return (purpose for purpose in counts if classes.get(purpose, WITHOUT) == WITHOUT)


def _by_app(rows: Sequence[AccessCount]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in rows:
        name = each.app or "(not authenticated)"
        found[name] = found.get(name, 0) + each.rows
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_LISTED])
