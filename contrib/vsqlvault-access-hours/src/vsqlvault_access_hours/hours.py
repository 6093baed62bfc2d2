"""Weekly office hours in local time."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOST_DEPENDENT = frozenset({"localtime"})

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TimeOfDay = Annotated[str, Field(pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$")]
ClosingTime = Annotated[str, Field(pattern=r"^(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]


class OfficeHours(BaseModel):
    """From ``opens`` (inclusive) until ``closes`` (exclusive), ``HH:MM`` local time of ``timezone``, on each of
    ``days``.

    ``closes`` may be ``24:00``, the end of the day. If ``closes`` is earlier than ``opens``, the hours continue past
    midnight, and ``days`` are the days on which they start. An hour that a clock change repeats counts twice. One that it
    skips does not exist.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    timezone: str
    days: tuple[Day, ...] = Field(min_length=1, max_length=len(DAYS))
    opens: TimeOfDay
    closes: ClosingTime

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in _time_zones():
            raise ValueError("unknown time zone")
        return value

    @field_validator("days")
    @classmethod
    def _each_once(cls, value: tuple[Day, ...]) -> tuple[Day, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a day is listed twice")
        return value

    @field_validator("closes")
    @classmethod
    def _not_empty(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("opens"):
            raise ValueError("no time between opens and closes")
        return value

    def include(self, at: datetime) -> bool:
        """Whether ``at``, an aware time, is within the hours."""
        local = at.astimezone(ZoneInfo(self.timezone))
        minute = local.hour * 60 + local.minute
        opens, closes = _minute(self.opens), _minute(self.closes)
        today, yesterday = self._open_on(local.weekday()), self._open_on(local.weekday() - 1)
        if opens < closes:
            return today and opens <= minute < closes
        return (today and minute >= opens) or (yesterday and minute < closes)

    def _open_on(self, weekday: int) -> bool:
        """Whether the hours start on a day of the week: 0 is Monday, -1 the Sunday before."""
        return DAYS[weekday] in self.days


def _minute(time_of_day: str) -> int:
    hours, minutes = time_of_day.split(":")
    return int(hours) * 60 + int(minutes)


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _HOST_DEPENDENT
