"""The charts of activity by day: one column for each day, or for several of a long period."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from vsqlvault.report_html.day_charts import MAX_COLUMNS, day_charts

FIRST = date(2030, 1, 1)


def days(*stored: int, denied: int = 0) -> list[dict[str, Any]]:
    """Return days, each with these counts; a day with 0 is left out."""
    return [
        {"day": (FIRST + timedelta(days=place)).isoformat(), "stored": count, "denied": denied}
        for place, count in enumerate(stored)
        if count
    ]


def test_each_day_has_a_column_at_its_place() -> None:
    page = day_charts(days(3, 0, 6))
    assert re.findall(r'<rect class="c0" x="([\d.]+)" y="([\d.]+)"', page) == [("0.0", "22.0"), ("480.0", "0.0")]


def test_the_caption_has_the_sum_and_the_largest_day() -> None:
    assert "<figcaption>Stored on each day: 9, at most 6 (2030-01-03)</figcaption>" in day_charts(days(3, 0, 6))


def test_counts_that_are_always_zero_have_no_chart() -> None:
    assert day_charts(days(1)).count("<figure") == 1
    assert day_charts(days(1, denied=2)).count("<figure") == 2


def test_a_long_period_has_a_bounded_number_of_columns_with_the_same_sum() -> None:
    page = day_charts(days(*[2] * 730))
    assert page.count("<rect") <= MAX_COLUMNS
    assert "Stored in each 7 days: 1,460, at most 14 (2030-01-01)" in page


def test_without_days_there_is_no_chart() -> None:
    assert day_charts([]) == ""
