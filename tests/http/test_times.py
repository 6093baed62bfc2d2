"""Times on the wire: RFC 3339 with T, seconds and offset, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer

NOT_TIMES = [
    "2027-02-16",
    "2027-02-16T00:00:00",
    "2027-02-16 00:00:00Z",
    "2027-02-16T00:00Z",
    "2027-02-16T00:00:00+01",
    "2027-02-16T00:00:00+0100",
    "2027-02-16T00:00:60Z",
    "2027-02-16T24:00:00Z",
    "2027-02-16T00:60:00Z",
    "2027-02-30T00:00:00Z",
    "2027-13-01T00:00:00Z",
    "2027-00-10T00:00:00Z",
    "2027-02-00T00:00:00Z",
    "2027-02-16T00:00:00+99:00",
    "2027-02-16T00:00:00+24:00",
    "2027-02-16T00:00:00+00:60",
    "2027-02-16T00:00:00.Z",
    "2027-02-16T00:00:00,5Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "1739664000",
    "1739664000.5",
    "20270216T000000Z",
    "2027-W07-2T00:00:00Z",
    "2027-047T00:00:00Z",
    "tomorrow",
    "",
    " 2027-02-16T00:00:00Z",
    "2027-02-16T00:00:00Z ",
    "+2027-02-16T00:00:00Z",
    "-2027-02-16T00:00:00Z",
    "\u0662027-02-16T00:00:00Z",
    "2027-02-16T00:00:00\u2212 01:00",
    "NaN",
    "infinity",
]


@pytest.mark.parametrize("text", NOT_TIMES)
def test_what_is_no_time_is_refused_with_a_row(vault: VaultServer, text: str) -> None:
    answer = vault.put("payments", "card/time-1", expires_at=text)
    assert_refused(vault, answer, 422, "invalid-time", "invalid_time")


def soon(**delta: float) -> datetime:
    return datetime.now(UTC) + timedelta(**delta)


@pytest.mark.parametrize("offset", ["Z", "+00:00", "-00:00"])
def test_an_offset_of_nothing_is_utc(vault: VaultServer, offset: str) -> None:
    at = soon(days=2).strftime("%Y-%m-%dT%H:%M:%S")
    stored = vault.put("payments", f"card/utc-{offset.strip(':+')[:1]}", MARKER, expires_at=at + offset)
    assert stored.json["expires_at"] == at + "Z"


@pytest.mark.parametrize(("offset", "hours"), [("+05:00", -5), ("-11:00", 11)])
def test_an_offset_is_counted(vault: VaultServer, offset: str, hours: int) -> None:
    at = soon(days=2).replace(microsecond=0)
    answer = vault.put("payments", f"card/offset{hours}", MARKER, expires_at=at.strftime("%Y-%m-%dT%H:%M:%S") + offset)
    assert datetime.fromisoformat(answer.json["expires_at"]) == at + timedelta(hours=hours)


def test_microseconds_are_kept(vault: VaultServer) -> None:
    at = soon(days=2).strftime("%Y-%m-%dT%H:%M:%S.123456Z")
    assert vault.put("payments", "card/micros", MARKER, expires_at=at).json["expires_at"] == at


@pytest.mark.parametrize("digits", ["1234567", "123456789", "123456999999999999"])
def test_a_fraction_is_cut_to_microseconds(vault: VaultServer, digits: str) -> None:
    at = soon(days=2).strftime("%Y-%m-%dT%H:%M:%S.")
    answer = vault.put("payments", f"card/fraction-{len(digits)}", MARKER, expires_at=f"{at}{digits}Z")
    assert answer.json["expires_at"] == f"{at}123456Z"


def test_t_and_z_may_be_lower_case(vault: VaultServer) -> None:
    at = soon(days=2).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert vault.put("payments", "card/lower", MARKER, expires_at=at.lower()).json["expires_at"] == at


@pytest.mark.parametrize("text", ["2020-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_a_time_in_the_past_is_refused_with_a_row(vault: VaultServer, text: str) -> None:
    answer = vault.put("payments", "card/past-1", expires_at=text)
    assert_refused(vault, answer, 422, "expires-in-past", "expires_in_past")


def test_this_very_moment_is_past(vault: VaultServer) -> None:
    answer = vault.put("payments", "card/past-2", expires_at=datetime.now(UTC).isoformat())
    assert_problem(answer, 422, "expires-in-past")


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999+00:00", "2999-01-01T00:00:00Z"])
def test_a_time_beyond_the_maximum_is_refused_with_a_row(vault: VaultServer, text: str) -> None:
    answer = vault.put("payments", "card/late-1", expires_at=text)
    assert_refused(vault, answer, 422, "retention-exceeded", "retention_exceeded")


def test_a_time_a_minute_beyond_the_maximum_is_refused(vault: VaultServer) -> None:
    answer = vault.put("payments", "card/late-2", expires_at=soon(days=365, minutes=1).isoformat())
    assert_problem(answer, 422, "retention-exceeded")


def test_a_time_a_minute_before_the_maximum_is_taken(vault: VaultServer) -> None:
    at = soon(days=365, minutes=-1).isoformat()
    assert vault.put("payments", "card/late-3", MARKER, expires_at=at).status == 201


def test_a_refused_time_is_not_replaced_by_the_default(vault: VaultServer) -> None:
    vault.put("payments", "card/late-4", expires_at="9999-12-31T23:59:59Z")
    assert_problem(vault.get("payments", "card/late-4"), 404, "not-found")


@pytest.mark.parametrize("fields", [{}, {"expires_at": None}])
def test_without_a_time_the_default_counts(vault: VaultServer, fields: dict[str, None]) -> None:
    entry = vault.stored("payments", f"card/default-{len(fields)}", MARKER, **fields)
    lives = datetime.fromisoformat(entry["expires_at"]) - datetime.fromisoformat(entry["created_at"])
    assert lives == timedelta(days=90)


def test_without_a_time_and_a_default_the_maximum_counts(vault: VaultServer) -> None:
    policy = {"max_retention_days": 7, "purge_method": "physical-delete"}
    vault.call(ADMIN, "PUT", "/admin/retention-policies/week", json_body=policy)
    entry = vault.stored(ADMIN, "week/a", MARKER)
    lives = datetime.fromisoformat(entry["expires_at"]) - datetime.fromisoformat(entry["created_at"])
    assert lives == timedelta(days=7)
