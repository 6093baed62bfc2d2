"""Columns by day as SVG: one chart for each count, of the same days, with a text alternative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from html import escape
from typing import Any

from vsqlvault.report_html.words import label

WIDTH, HEIGHT, FOOT = 720, 44, 20
MAX_COLUMNS = 120
"""Columns of a chart. In a longer period, each column is the same number of days."""


def day_charts(days: Sequence[Mapping[str, Any]]) -> str:
    """Return a figure for each count of ``days``, each with its ``day``; those that are always zero are left out."""
    if not days:
        return ""
    first, last = (date.fromisoformat(str(days[place]["day"])) for place in (0, -1))
    span = (last - first).days + 1
    step = -(-span // MAX_COLUMNS)
    kinds = [name for name in days[0] if name != "day" and any(day[name] for day in days)]
    return "".join(_chart(kind, _columns(kind, days, first, span, step), first, step) for kind in kinds)


def _columns(kind: str, days: Sequence[Mapping[str, Any]], first: date, span: int, step: int) -> list[int]:
    columns = [0] * -(-span // step)
    for day in days:
        columns[(date.fromisoformat(str(day["day"])) - first).days // step] += int(day[kind])
    return columns


def _chart(kind: str, columns: Sequence[int], first: date, step: int) -> str:
    largest = max(columns)
    peak = first + timedelta(days=step * columns.index(largest))
    end = first + timedelta(days=step * len(columns) - 1)
    title = f"{label(kind)} on each day" if step == 1 else f"{label(kind)} in each {step} days"
    width = WIDTH / len(columns)
    bars = "".join(
        f'<rect class="c0" x="{place * width:.1f}" y="{HEIGHT - (tall := max(HEIGHT * count / largest, 1)):.1f}" '
        f'width="{max(width * 0.8, 0.5):.1f}" height="{tall:.1f}"></rect>'
        for place, count in enumerate(columns)
        if count
    )
    spoken = f"{title}, {first} to {end}. In all {sum(columns):,}. The most are {largest:,}, from {peak} on."
    return (
        f'<figure class="days">'
        f"<figcaption>{escape(title)}: {sum(columns):,}, at most {largest:,} ({peak})</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" role="img" aria-label="{escape(spoken)}">{bars}'
        f'<text x="0" y="{HEIGHT + FOOT / 2}">{first}</text>'
        f'<text class="label" x="{WIDTH}" y="{HEIGHT + FOOT / 2}">{end}</text></svg></figure>'
    )
