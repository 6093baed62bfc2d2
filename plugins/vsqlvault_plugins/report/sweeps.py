"""The sweeps, and whether a scrub has covered their purges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from vsqlvault.interfaces.report_section import Period, ReportContext
from vsqlvault.model.purge import ScrubRecord, SweepRecord
from vsqlvault_plugins.report.shape import MAX_LISTED, Finding, shown


class Sweeps:
    """Each sweep of the period with its result (PCI DSS 4.0.1, 3.2.1)."""

    name = "sweeps"

    def __init__(self, sweep_interval_hours: float = 0) -> None:
        """A gap of more than two intervals between sweeps is an exception. 0: no interval is set."""
        self._longest_gap = timedelta(hours=2 * sweep_interval_hours)

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The newest sweeps. Exceptions are incomplete sweeps, failures, purged bytes that are left, and long gaps."""
        runs = context.sweeps
        scrubs = [(run, _scrub_after(run, context.scrubs)) for run in runs.newest]
        gaps = list(_gaps(runs.newest, context.period))
        longest = max((run.finished_at - run.started_at for run in runs.newest), default=timedelta(0))
        return Finding(
            title="Sweeps",
            requirements=("3.2.1",),
            supports="Sweeps ran at least every two intervals, and destroyed what they found. Each is recorded.",
            method=(
                "Records of the sweeps that ended in the period: entries purged with proof, entries that could not "
                "be purged, and entries kept by legal holds. A sweep is scrubbed once a scrub that began after it "
                "has completed and verified that the purged bytes are removed from the storage's data files. A gap is the time "
                "from the end of a sweep to the end of the next one, or of the period. It is an exception beyond twice "
                "purge.sweep_interval_hours."
            ),
            check=(
                "GET /admin/access-log?operation=sweep has a row for each sweep, and one for each dry run, whose detail "
                "begins with dry run, and each refused request, which are not counted here. "
                "GET /admin/purge-log?reason=retention-policy and GET /admin/purge-log?reason=expired have what sweeps purged, "
                "by the purge method of the purpose. The second also has expired entries that a PUT replaced."
            ),
            measured="period",
            population=runs.count,
            exceptions=[
                *_no_runs(context),
                *(trouble for run, scrub in scrubs for trouble in _troubles(run, scrub)),
                *(_exception(run, "no other sweep for a long time", 1) for run, gap in gaps if self._is_long(gap)),
            ],
            figures={
                "runs": runs.count,
                "not_completed": runs.not_completed,
                "purged": runs.purged,
                "failed": runs.failed,
                "held_at_last_run": runs.newest[0].held if runs.newest else None,
                "longest_seconds": longest / timedelta(seconds=1),
                "longest_gap_seconds": max((gap for _, gap in gaps), default=timedelta(0)) / timedelta(seconds=1),
                "listed": [_row(run, scrub) for run, scrub in scrubs[:MAX_LISTED]],
            },
        ).member(context.period)

    def _is_long(self, gap: timedelta) -> bool:
        return bool(self._longest_gap) and gap > self._longest_gap


def _gaps(newest: Sequence[SweepRecord], period: Period | None) -> Iterator[tuple[SweepRecord, timedelta]]:
    """Yield each sweep with the time until the next one ended, or until the end of the period."""
    runs = sorted(newest, key=lambda run: (run.finished_at, run.sweep_id))
    ends = [run.finished_at for run in runs[1:]] + (
        [max(period.until, runs[-1].finished_at)] if period and runs else []
    )
    yield from ((run, end - run.finished_at) for run, end in zip(runs, ends, strict=False))


def _scrub_after(run: SweepRecord, scrubs: Sequence[ScrubRecord]) -> ScrubRecord | None:
    """Return the first scrub that covers the sweep's purges, or the newest one that tried to, or None."""
    after = [scrub for scrub in scrubs if scrub.started_at >= run.finished_at]
    done = [scrub for scrub in after if scrub.completed]
    return min(done or after[:1], key=lambda scrub: scrub.finished_at, default=None)


def _row(run: SweepRecord, scrub: ScrubRecord | None) -> dict[str, Any]:
    return {
        "sweep": run.sweep_id,
        "started_at": shown(run.started_at),
        "finished_at": shown(run.finished_at),
        "seconds": (run.finished_at - run.started_at) / timedelta(seconds=1),
        "trigger": run.trigger,
        "purged": run.purged,
        "failed": run.failed,
        "held": run.held,
        "completed": run.completed,
        "scrub": _state(run, scrub),
        "scrubbed_at": shown(scrub.finished_at) if scrub and scrub.completed else None,
    }


def _state(run: SweepRecord, scrub: ScrubRecord | None) -> str:
    if scrub is None:
        return "none yet" if run.purged else "nothing to do"
    return "scrubbed" if scrub.completed else f"left: {scrub.left}"


def _no_runs(context: ReportContext) -> list[dict[str, Any]]:
    if context.sweeps.count or not context.retention_policies:
        return []
    return [_exception(None, "no sweep in the period", 1)]


def _troubles(run: SweepRecord, scrub: ScrubRecord | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if not run.completed:
        found.append(_exception(run, "incomplete sweep", 1))
    if run.failed:
        found.append(_exception(run, "entries that could not be purged and were kept", run.failed))
    if run.purged and not (scrub and scrub.completed):
        found.append(_exception(run, "entries purged whose bytes no scrub has removed", run.purged))
    return found


def _exception(run: SweepRecord | None, what: str, count: int) -> dict[str, Any]:
    return {
        "sweep": run.sweep_id if run else None,
        "finished_at": shown(run.finished_at) if run else None,
        "what": what,
        "count": count,
    }
