"""The common shape of sections: figures, method and exceptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from vsqlvault.interfaces.report_section import Period, ReportContext
from vsqlvault.model.times import format_time
from vsqlvault.quick_dataclass import dataclass

MAX_LISTED = 100
LOG = "-log"
"""The end of the routes of the logs."""
ASK_THE_SERVER = "not assessed by this command: ask the server (GET /compliance/report)"
NOT_VERIFIED = (
    "not verified here: no verifier key is known where this report was written. The server verifies the signatures (GET "
    "/compliance/report), or vsql-vault verify with --vkey"
)
NOBODY = "nobody yet: there was nothing to examine"
Result = Literal["supports", "exceptions", "not_assessed"]
Measured = Literal["as_of", "period", "now"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The content of a section.

    ``requirements`` are ids of ``vsqlvault.model.pci_dss``. ``check`` names the routes, commands or queries that show
    the same facts one by one; of figures of a period, the queries of the logs get that period. ``measured`` is the time of
    the figures: the report's time, its period, or the time of writing. ``population`` counts the examined items.
    ``exceptions`` are rows with the same members. The figures support ``supports`` if something was examined, there are no
    exceptions, and there is no ``owner`` who has to assess it.
    """

    title: str
    requirements: Sequence[str]
    supports: str
    method: str
    check: str
    measured: Measured
    population: int
    figures: Mapping[str, Any]
    exceptions: Sequence[Mapping[str, Any]] = ()
    exceptions_count: int | None = None
    owner: str | None = None
    charts: Sequence[Mapping[str, Any]] = field(default=())

    @property
    def result(self) -> Result:
        """The result: exceptions, if there are any; not assessed with an owner or without a population; else supports."""
        if self.exceptions or self.exceptions_count:
            return "exceptions"
        return "not_assessed" if self.assessor else "supports"

    @property
    def assessor(self) -> str | None:
        """Who has to assess it, or None. Where nothing was examined, nothing supports a claim."""
        return self.owner or (None if self.population else NOBODY)

    def member(self, period: Period | None) -> dict[str, Any]:
        """Return the member of the report."""
        count = len(self.exceptions) if self.exceptions_count is None else self.exceptions_count
        return {
            "title": self.title,
            "requirements": list(self.requirements),
            "result": self.result,
            "supports": self.supports,
            "measured": self.measured,
            "period": shown_period(period) if self.measured == "period" else None,
            "method": self.method,
            "check": self.check + self._bounds(period),
            "population": self.population,
            "exceptions": {"count": count, "listed": [dict(each) for each in self.exceptions[:MAX_LISTED]]},
            "owner": self.assessor,
            "figures": dict(self.figures),
            "charts": [dict(chart) for chart in self.charts],
        }

    def _bounds(self, period: Period | None) -> str:
        """Return the parameters that limit the check's queries of the logs to the counted rows."""
        if self.measured != "period" or period is None or LOG not in self.check or "since=" in self.check:
            return ""
        return f" Add since={format_time(period.since)}&until={format_time(period.until)} to a query of a log."


def example(values: Iterable[str | None], placeholder: str) -> str:
    """Return the first name in order, as a path or a query takes it; the placeholder where there is none."""
    return min((quote(each, safe=":@~") for each in values if each), default=placeholder)


def rows_not_at_hand(context: ReportContext, count: str | None = "count", **members: Any) -> list[dict[str, Any]]:
    """Return an exception if rows of the period were dropped: the section counts only those that are in the vault.

    ``members`` are the other members of the section's exceptions. ``count`` is the name of the one that has the number of
    dropped rows; None: they have no number.
    """
    archived, period = context.archived, context.period
    if archived is None or period is None or period.since > archived.newest_row_at:
        return []
    what = f"rows up to {format_time(archived.newest_row_at)} are in archives, and not all of them are counted"
    return [{**members, "what": what, **({} if count is None else {count: archived.absent_rows})}]


def bars(title: str, unit: str, series: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]]) -> dict[str, Any]:
    """Return a bar chart: for each row its label and a number for each of ``series``."""
    return {
        "title": title,
        "unit": unit,
        "series": list(series),
        "bars": [{"label": label, "values": list(values)} for label, values in rows],
    }


def shown_period(period: Period | None) -> dict[str, str] | None:
    """Return a period as JSON."""
    return {"since": format_time(period.since), "until": format_time(period.until)} if period else None


def shown(at: datetime | None) -> str | None:
    """Return a time as JSON."""
    return format_time(at) if at else None
