"""The report's member about credentials: counts and ages that are true at the instant asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.interfaces.statistics import EntryStatistics
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.principal import Role
from vsqlvault.model.sandbox import StepState
from vsqlvault.testing import T0
from vsqlvault_plugins.report.credentials import MAX_LISTED, Credentials

DAY = timedelta(days=1)


def known(name: str, **fields: Any) -> KnownCredential:
    made: dict[str, Any] = {"credential_id": name, "app": "payments", "source": "storage", "method": "api-key"}
    return KnownCredential(**made | fields)


SERVES = (StepState("no_new_privileges", "on", "set"),)


def written(*credentials: KnownCredential, at: Any = T0, hardening: Sequence[StepState] = SERVES) -> Any:
    context = ReportContext(at, EntryStatistics({}, 0, 0, {}), None, {}, {}, credentials, hardening=hardening)
    return asyncio.run(Credentials(90).write(context))


def test_each_method_is_counted_by_what_became_of_its_credentials() -> None:
    report = written(
        known("new", created_at=T0 - DAY),
        known("old", created_at=T0 - DAY * 91, first_used_at=T0 - DAY * 80, last_used_at=T0 - DAY),
        known("limit", created_at=T0 - DAY * 90, expires_at=T0 + DAY * 30, last_used_at=T0 - DAY * 2),
        known("ended", created_at=T0 - DAY, expires_at=T0),
        known("gone", created_at=T0 - DAY * 99, revoked_at=T0),
        known("file", source="settings"),
        known("badge", method="badge", first_used_at=T0 - DAY * 200, last_used_at=T0),
    )
    assert report["by_method"] == {
        "api-key": {
            "active": 4,
            "expired": 1,
            "revoked": 1,
            "never_used": 2,
            "without_expiry": 3,
            "expiring_next_30_days": 1,
            "older_than_max_age": 1,
            "age_unknown": 1,
            "oldest_since": (T0 - DAY * 91).isoformat().replace("+00:00", "Z"),
            "last_used_at": (T0 - DAY).isoformat().replace("+00:00", "Z"),
        },
        "badge": {
            "active": 1,
            "expired": 0,
            "revoked": 0,
            "never_used": 0,
            "without_expiry": 1,
            "expiring_next_30_days": 0,
            "older_than_max_age": 0,
            "age_unknown": 1,
            "oldest_since": None,
            "last_used_at": T0.isoformat().replace("+00:00", "Z"),
        },
    }
    assert report["max_age_days"] == 90


def test_the_active_ones_are_listed_oldest_first_and_those_of_unknown_age_before_them() -> None:
    report = written(
        known("new", created_at=T0 - DAY),
        known("old", created_at=T0 - DAY * 5, purposes=None, roles=frozenset({Role.ADMIN}), identity="jane"),
        known("file", source="settings"),
        known("gone", created_at=T0 - DAY * 9, revoked_at=T0 - DAY),
    )
    assert [each["credential_id"] for each in report["active"]] == ["file", "old", "new"]
    old = report["active"][1]
    assert (old["age_days"], old["purposes"], old["roles"], old["identity"]) == (5, ["*"], ["admin"], "jane")
    assert report["active"][0]["age_days"] is None


def test_as_of_an_earlier_instant_what_came_later_has_not_happened() -> None:
    credentials = (
        known("later", created_at=T0),
        known("revoked since", created_at=T0 - DAY * 9, revoked_at=T0),
        known("expired since", created_at=T0 - DAY * 9, expires_at=T0),
        known("file", source="settings", first_used_at=T0, last_used_at=T0),
    )
    report = written(*credentials, at=T0 - DAY)
    assert [each["credential_id"] for each in report["active"]] == ["file", "expired since", "revoked since"]
    assert report["active"][0]["since"] is None
    assert written(*credentials)["by_method"]["api-key"]["active"] == 2


def test_the_list_has_an_end_and_says_so() -> None:
    report = written(*(known(f"k{number}", created_at=T0) for number in range(MAX_LISTED + 7)))
    assert (len(report["active"]), report["active_not_listed"]) == (MAX_LISTED, 7)


def whats(report: Any) -> list[tuple[str, str]]:
    return [(each["credential_id"], each["what"]) for each in report["exceptions"]["listed"]]


GOOD: dict[str, Any] = {"created_at": T0 - DAY, "expires_at": T0 + DAY, "is_strong": True}


def test_a_strong_key_of_known_age_with_an_expiry_supports() -> None:
    assert written(known("good", **GOOD))["result"] == "supports"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"created_at": T0 - DAY * 91}, "older than 90 days"),
        ({"created_at": None}, "the time at which it was made is not known"),
        ({"expires_at": None}, "no expiry"),
        ({"is_strong": False}, "weak: shorter than 22 characters, or fewer than 10 different ones"),
    ],
)
def test_a_key_that_lacks_one_of_these_is_an_exception(change: dict[str, Any], what: str) -> None:
    assert whats(written(known("bad", **GOOD | change))) == [("bad", what)]


def test_the_age_of_a_key_does_not_count_from_its_first_use() -> None:
    report = written(known("file", **GOOD | {"created_at": None}, first_used_at=T0 - DAY * 200))
    assert report["active"][0]["age_days"] is None
    assert report["active"][0]["first_used_at"] is not None


def test_a_key_of_unknown_strength_is_not_assessed() -> None:
    report = written(known("digest", **GOOD | {"is_strong": None}))
    assert (report["result"], report["figures"]["strength_unknown"]) == ("not_assessed", 1)


def test_a_key_that_the_environment_of_the_process_shows_is_an_exception() -> None:
    name = next(iter(shown_environment()))
    assert whats(written(known(f"env:{name}", **GOOD))) == [
        (f"env:{name}", "readable in the environment of the process")
    ]
    assert whats(written(known("env:NOT_IN_THE_ENVIRONMENT", **GOOD))) == []


def test_a_command_does_not_assess_its_own_environment() -> None:
    report = written(known(f"env:{next(iter(shown_environment()))}", **GOOD), hardening=())
    assert (report["result"], report["exceptions"]["count"]) == ("not_assessed", 0)
    assert "ask the server" in report["owner"]


def test_a_command_assesses_credentials_that_are_not_in_its_environment() -> None:
    assert written(known("stored", **GOOD), hardening=())["result"] == "supports"


def shown_environment() -> set[str]:
    entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    return {entry.partition(b"=")[0].decode() for entry in entries if entry.partition(b"=")[2]}
