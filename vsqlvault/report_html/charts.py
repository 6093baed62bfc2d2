"""Horizontal bar charts as SVG, with a text alternative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vsqlvault.report_html.words import in_words

WIDTH, LABELS, NUMBERS = 720, 210, 70
ROW, BAR, TOP = 26, 16, 4
COLOURS = 6
PROMINENT = 4
MAX_BARS = 12
_CODED = ("by reason", "by operation")
"""Ends of titles of charts whose labels are codes of the vault."""

Bar = tuple[str, list[int]]


def chart(found: Mapping[str, Any]) -> str:
    """Return a figure of a section's chart (``title``, ``unit``, ``series``, ``bars``); empty if all values are zero."""
    title = str(found.get("title", ""))
    spoken = in_words if title.lower().endswith(_CODED) else str
    bars = [(spoken(str(each["label"])), [int(number) for number in each["values"]]) for each in found.get("bars", ())]
    bars = _largest(bars)
    series = [str(name) for name in found.get("series", ())]
    largest = max((sum(values) for _, values in bars), default=0)
    if largest <= 0:
        return ""
    unit = str(found.get("unit", ""))
    height = TOP * 2 + ROW * len(bars)
    rows = "".join(_row(place, text, values, largest) for place, (text, values) in enumerate(bars))
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{_legend(series)}"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(_in_words(title, unit, series, bars))}">'
        f"{rows}</svg></figure>"
    )


def _largest(bars: list[Bar]) -> list[Bar]:
    """Return the bars, or the largest of many and one for all others together."""
    if len(bars) <= MAX_BARS:
        return bars
    least = sorted((sum(values) for _, values in bars), reverse=True)[MAX_BARS - 2]
    kept = [bar for bar in bars if sum(bar[1]) >= least][: MAX_BARS - 1]
    others = [values for bar in bars if bar not in kept for values in (bar[1],)]
    return [*kept, (f"{len(others)} others together", [sum(column) for column in zip(*others, strict=False)])]


def _row(place: int, text: str, values: Sequence[int], largest: int) -> str:
    top = TOP + place * ROW
    middle = top + ROW / 2
    shown = text if len(text) <= 30 else f"{text[:28]}\u2026"  # noqa: PLR2004
    room = WIDTH - LABELS - NUMBERS
    pieces, left = [], float(LABELS)
    for number, value in enumerate(values):
        width = room * value / largest
        if value:
            pieces.append(
                f'<rect class="c{_colour(number, len(values))}" x="{left:.1f}" y="{top + (ROW - BAR) / 2:.1f}" '
                f'width="{max(width, 1):.1f}" height="{BAR}"></rect>'
            )
        left += width
    return (
        f'<text class="label" x="{LABELS - 8}" y="{middle:.1f}">{escape(shown)}</text>{"".join(pieces)}'
        f'<text x="{left + 6:.1f}" y="{middle:.1f}">{sum(values):,}</text>'
    )


def _colour(place: int, of: int) -> int:
    """Return the colour of a series; of two, the second is emphasised."""
    return PROMINENT if of == 2 and place else place % COLOURS  # noqa: PLR2004


def _legend(series: Sequence[str]) -> str:
    if len(series) < 2:  # noqa: PLR2004
        return ""
    items = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="c{_colour(place, len(series))}" width="10" '
        f'height="10"></rect></svg>{escape(name)}</li>'
        for place, name in enumerate(series)
    )
    return f'<ul class="legend">{items}</ul>'


def _in_words(title: str, unit: str, series: Sequence[str], bars: Sequence[tuple[str, Sequence[int]]]) -> str:
    if len(series) < 2:  # noqa: PLR2004
        told = [f"{text}: {sum(values):,}" for text, values in bars]
    else:
        told = [
            f"{text}: {', '.join(f'{value:,} {name}' for name, value in zip(series, values, strict=False) if value)}"
            for text, values in bars
        ]
    return f"{title}, in {unit}. {'; '.join(told)}."
