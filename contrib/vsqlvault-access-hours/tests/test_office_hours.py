from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from vsqlvault_access_hours import OfficeHours

WORK_DAYS = ("mon", "tue", "wed", "thu", "fri")
INSTANT = timedelta(microseconds=1)


def hours(**changes: Any) -> OfficeHours:
    document = {"timezone": "Europe/Berlin", "days": WORK_DAYS, "opens": "08:00", "closes": "18:00"}
    return OfficeHours.model_validate({**document, **changes})


def berlin(text: str, fold: int = 0) -> datetime:
    """Return the UTC instant at which clocks in Berlin show ``text``; ``fold`` 1 is the second time they do."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=fold).astimezone(UTC)


def test_the_opening_instant_is_inside_and_the_one_before_is_not() -> None:
    opening = berlin("2026-03-02T08:00")
    assert hours().include(opening)
    assert not hours().include(opening - INSTANT)


def test_the_closing_instant_is_outside_and_the_one_before_is_not() -> None:
    closing = berlin("2026-03-02T18:00")
    assert not hours().include(closing)
    assert hours().include(closing - INSTANT)


@pytest.mark.parametrize(
    ("day", "is_open"),
    [("02", True), ("03", True), ("04", True), ("05", True), ("06", True), ("07", False), ("08", False)],
)
def test_noon_is_inside_on_the_days_named_only(day: str, is_open: bool) -> None:
    assert hours().include(berlin(f"2026-03-{day}T12:00")) is is_open


def test_the_day_is_the_local_one() -> None:
    sunday_evening_utc = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    assert hours(timezone="Asia/Tokyo").include(sunday_evening_utc)
    assert not hours(timezone="UTC", opens="00:00", closes="23:59").include(sunday_evening_utc)


@pytest.mark.parametrize("opens", ["00:00", "23:59"])
def test_hours_until_24_00_include_the_last_instant_of_the_day_and_not_the_next_day(opens: str) -> None:
    midnight = berlin("2026-03-07T00:00")
    until_midnight = hours(opens=opens, closes="24:00")
    assert until_midnight.include(midnight - INSTANT)
    assert not until_midnight.include(midnight)


def test_from_00_00_until_24_00_is_the_whole_day() -> None:
    whole = hours(days=("mon",), opens="00:00", closes="24:00")
    monday = berlin("2026-03-02T00:00")
    assert [whole.include(monday + shift) for shift in (-INSTANT, 0 * INSTANT, timedelta(days=1) - INSTANT)] == [
        False, True, True,
    ]  # fmt: skip


def test_the_same_local_hour_is_another_instant_in_summer() -> None:
    winter, summer = datetime(2026, 3, 2, 7, tzinfo=UTC), datetime(2026, 7, 6, 6, tzinfo=UTC)
    assert hours().include(winter)
    assert hours().include(summer)
    assert not hours().include(winter - INSTANT)
    assert not hours().include(summer - INSTANT)


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-03-06T21:59:59", False),
        ("2026-03-06T22:00", True),
        ("2026-03-07T00:00", True),
        ("2026-03-07T05:59:59", True),
        ("2026-03-07T06:00", False),
        ("2026-03-07T22:00", False),
        ("2026-03-06T03:00", False),
        ("2026-03-08T03:00", False),
    ],
)
def test_hours_past_midnight_belong_to_the_day_they_open_on(at: str, is_open: bool) -> None:
    assert hours(days=("fri",), opens="22:00", closes="06:00").include(berlin(at)) is is_open


def test_hours_past_midnight_on_sunday_end_on_monday() -> None:
    night = hours(days=("sun",), opens="22:00", closes="06:00")
    assert night.include(berlin("2026-03-02T05:59"))
    assert not night.include(berlin("2026-03-01T05:59"))


def test_closing_at_midnight_ends_with_the_day() -> None:
    evening = hours(days=("fri",), opens="18:00", closes="00:00")
    assert evening.include(berlin("2026-03-07T00:00") - INSTANT)
    assert not evening.include(berlin("2026-03-07T00:00"))


def test_an_hour_that_the_clocks_leave_out_never_comes() -> None:
    """2026-03-29: at 02:00 clocks in Berlin go to 03:00."""
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)
    left_out = hours(days=("sun",), opens="02:00", closes="03:00")
    begins_in_it = hours(days=("sun",), opens="02:30", closes="04:00")
    assert not any(left_out.include(change + timedelta(minutes=m)) for m in range(-120, 120))
    assert not begins_in_it.include(change - INSTANT)
    assert begins_in_it.include(change)


def test_an_hour_that_the_clocks_repeat_counts_twice() -> None:
    """2026-10-25: at 03:00 clocks in Berlin go to 02:00."""
    repeated = hours(days=("sun",), opens="02:00", closes="03:00")
    inside = [
        minute
        for minute in range(24 * 60)
        if repeated.include(datetime(2026, 10, 25, tzinfo=UTC) + timedelta(minutes=minute))
    ]
    assert inside == list(range(120))
    assert repeated.include(berlin("2026-10-25T02:30"))
    assert repeated.include(berlin("2026-10-25T02:30", fold=1))


@pytest.mark.parametrize(("date", "minutes"), [("2026-03-28", 420), ("2026-03-27", 480), ("2026-10-24", 540)])
def test_a_night_is_as_long_as_the_clocks_make_it(date: str, minutes: int) -> None:
    night = hours(days=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), opens="22:00", closes="06:00")
    opening = berlin(f"{date}T22:00")
    assert [night.include(opening + timedelta(minutes=m)) for m in (-1, 0, minutes - 1, minutes)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_week_of_office_hours_has_fifty_hours() -> None:
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    assert sum(hours().include(monday + timedelta(minutes=minute)) for minute in range(7 * 24 * 60)) == 5 * 10 * 60
