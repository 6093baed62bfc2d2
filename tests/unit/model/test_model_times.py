"""Instants: what is read, what is refused, and what comes out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsqlvault.errors import InvalidTime
from vsqlvault.model.times import EPOCH, format_time, from_micros, parse_time, to_micros

REFUSED = {
    "no zone": "2027-02-16T00:00:00",
    "date only": "2027-02-16",
    "epoch number": "1739664000",
    "epoch number with a fraction": "1739664000.5",
    "sixty seconds": "2027-02-16T00:00:60Z",
    "the thirtieth of February": "2027-02-30T00:00:00Z",
    "the twenty-ninth of no leap year": "2027-02-29T00:00:00Z",
    "hour 24": "2027-02-16T24:00:00Z",
    "minute 60": "2027-02-16T00:60:00Z",
    "month 13": "2027-13-01T00:00:00Z",
    "month 0": "2027-00-01T00:00:00Z",
    "day 0": "2027-01-00T00:00:00Z",
    "an offset of 99 hours": "2027-02-16T00:00:00+99:00",
    "an offset of 24 hours": "2027-02-16T00:00:00+24:00",
    "an offset of 60 minutes": "2027-02-16T00:00:00+01:60",
    "an offset without colon": "2027-02-16T00:00:00+0100",
    "an offset of hours only": "2027-02-16T00:00:00+01",
    "an offset with seconds": "2027-02-16T00:00:00+01:00:00",
    "year 0": "0000-01-01T00:00:00Z",
    "year 10000": "10000-01-01T00:00:00Z",
    "overflow on conversion": "9999-12-31T23:59:59-14:00",
    "underflow on conversion": "0001-01-01T00:00:00+14:00",
    "a blank for T": "2027-02-16 00:00:00Z",
    "no seconds": "2027-02-16T00:00Z",
    "a point without digits": "2027-02-16T00:00:00.Z",
    "a comma": "2027-02-16T00:00:00,5Z",
    "basic form": "20270216T000000Z",
    "week date": "2027-W07-2T00:00:00Z",
    "a blank before": " 2027-02-16T00:00:00Z",
    "a line after": "2027-02-16T00:00:00Z\n",
    "two zones": "2027-02-16T00:00:00ZZ",
    "a zone's name": "2027-02-16T00:00:00[UTC]",
    "digits of another script": "٢٠٢٧-02-16T00:00:00Z",
    "full-width digits": "\uff12\uff10\uff12\uff17-02-16T00:00:00Z",
    "a minus of typography": "2027-02-16T00:00:00\u221201:00",
    "signed year": "+2027-02-16T00:00:00Z",
    "nothing": "",
    "null": "null",
    "a word": "tomorrow",
    "NUL": "2027-02-16T00:00:00Z\0",
}
TAKEN = {
    "2027-02-16T00:00:00Z": datetime(2027, 2, 16, tzinfo=UTC),
    "2027-02-16T00:00:00+00:00": datetime(2027, 2, 16, tzinfo=UTC),
    "2027-02-16T00:00:00-00:00": datetime(2027, 2, 16, tzinfo=UTC),
    "2027-02-16T01:30:00+01:30": datetime(2027, 2, 16, tzinfo=UTC),
    "2027-02-15T19:00:00-05:00": datetime(2027, 2, 16, tzinfo=UTC),
    "2027-02-16T00:00:00.5Z": datetime(2027, 2, 16, 0, 0, 0, 500000, tzinfo=UTC),
    "2027-02-16T00:00:00.123456Z": datetime(2027, 2, 16, 0, 0, 0, 123456, tzinfo=UTC),
    "2027-02-16t00:00:00z": datetime(2027, 2, 16, tzinfo=UTC),
    "2027-02-16T00:00:00.1234567Z": datetime(2027, 2, 16, 0, 0, 0, 123456, tzinfo=UTC),
    "2027-02-16T00:00:00.123456999z": datetime(2027, 2, 16, 0, 0, 0, 123456, tzinfo=UTC),
    f"2027-02-16T00:00:00.{'9' * 2000}Z": datetime(2027, 2, 16, 0, 0, 0, 999999, tzinfo=UTC),
    "2028-02-29T23:59:59+23:59": datetime(2028, 2, 29, 0, 0, 59, tzinfo=UTC),
    "9999-12-31T23:59:59.999999Z": datetime.max.replace(tzinfo=UTC),
    "0001-01-01T00:00:00Z": datetime.min.replace(tzinfo=UTC),
}
INSTANTS = st.datetimes(timezones=st.just(UTC))


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_not_rfc_3339_is_refused(text) -> None:
    with pytest.raises(InvalidTime):
        parse_time(text)


@pytest.mark.parametrize(("text", "at"), TAKEN.items(), ids=TAKEN)
def test_rfc_3339_is_read_into_utc(text, at) -> None:
    read = parse_time(text)
    assert read == at
    assert read.utcoffset() == timedelta(0)


@given(INSTANTS)
def test_what_was_formatted_is_read_back(at) -> None:
    assert parse_time(format_time(at)) == at


@given(INSTANTS)
def test_microseconds_lose_nothing(at) -> None:
    assert from_micros(to_micros(at)) == at


@given(INSTANTS, INSTANTS)
def test_microseconds_keep_the_order(one, other) -> None:
    assert (one < other) == (to_micros(one) < to_micros(other))


def test_the_fraction_is_written_only_where_there_is_one() -> None:
    assert format_time(datetime(2027, 2, 16, tzinfo=UTC)) == "2027-02-16T00:00:00Z"
    assert format_time(datetime(2027, 2, 16, 0, 0, 0, 100, tzinfo=UTC)) == "2027-02-16T00:00:00.000100Z"


def test_another_zone_is_written_in_utc() -> None:
    assert format_time(datetime(2027, 2, 16, 1, tzinfo=timezone(timedelta(hours=1)))) == "2027-02-16T00:00:00Z"


def test_the_epoch_is_zero() -> None:
    assert to_micros(EPOCH) == 0
    assert to_micros(EPOCH - timedelta(microseconds=1)) == -1
