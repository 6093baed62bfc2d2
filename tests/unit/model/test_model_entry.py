"""Entries: what a caller finds at which instant, and what names look like."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest

from vsqlvault.model.entry import EXTERNAL_ID, PURPOSE, EntryKey, EntryState, EntryVersion
from vsqlvault.model.policy import POLICY_NAME
from vsqlvault.testing import T0, an_entry

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("days", "ends"),
    [(None, 90), (100, 90), (91, 90), (90, 90), (89, 89), (1, 1)],
)
def test_an_entry_ends_at_the_earlier_of_its_own_time_and_the_retention_limit(days, ends) -> None:
    entry = an_entry(created_at=T0, expires_at=T0 + DAY * 90)
    assert entry.effective_expires_at(days) == T0 + DAY * ends


@pytest.mark.parametrize("days", [None, 90, 365])
def test_the_instant_of_expiry_itself_is_expired(days) -> None:
    entry = an_entry(created_at=T0, expires_at=T0 + DAY * 90)
    end = T0 + DAY * 90
    states = [entry.state(at, days) for at in (end - TICK, end, end + TICK)]
    assert states == [EntryState.ACTIVE, EntryState.EXPIRED, EntryState.EXPIRED]


def test_the_instant_of_the_retention_limit_itself_is_expired() -> None:
    entry = an_entry(created_at=T0, expires_at=T0 + DAY * 90)
    retention_limit = T0 + DAY * 30
    assert [entry.state(at, 30) for at in (retention_limit - TICK, retention_limit)] == [
        EntryState.ACTIVE,
        EntryState.EXPIRED,
    ]


def test_a_retention_limit_counts_from_creation_and_not_from_the_last_change() -> None:
    entry = an_entry(created_at=T0, updated_at=T0 + DAY * 20, expires_at=T0 + DAY * 90)
    assert entry.effective_expires_at(30) == T0 + DAY * 30


@pytest.mark.parametrize("at", [T0 - DAY, T0, T0 + DAY * 400])
def test_a_purged_entry_is_purged_at_any_time(at) -> None:
    assert an_entry(purged_at=T0, purge_method="crypto-shred").state(at, 30) is EntryState.PURGED


def test_key_and_stamp_name_the_entry_and_its_version() -> None:
    entry = an_entry("pay-7", entry_id="a" * 32, version=3)
    assert entry.key == EntryKey("card", "pay-7")
    assert entry.stamp == EntryVersion("a" * 32, 3)


def test_an_entry_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        an_entry().version = 2


@pytest.mark.parametrize("text", ["card", "0", "a-b_c", "a" * 64])
def test_a_purpose_is_taken(text) -> None:
    assert PURPOSE.fullmatch(text)


@pytest.mark.parametrize("text", ["", "Card", "-a", "_a", "a" * 65, "a.b", "a/b", "ä", "a\n", "\u0430", "a%20b"])
def test_a_purpose_is_refused(text) -> None:
    assert not PURPOSE.fullmatch(text)


@pytest.mark.parametrize("text", ["0", "A.b_c:d@e~f-g", "null", "__proto__"[2:], "x" * 256, "admin"])
def test_an_id_is_taken(text) -> None:
    assert EXTERNAL_ID.fullmatch(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "-a", "_a", "~a", "x" * 257, "a/b", "a%2fb", "a b", "a\n", "é", "a\u0301", "٣", "a\0", "a+b"],
)
def test_an_id_is_refused(text) -> None:
    assert not EXTERNAL_ID.fullmatch(text)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("a.b-c_d", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("A", False),
        ("", False),
        (".a", False),
        ("a\n", False),
    ],
)
def test_the_name_of_a_policy(text, taken) -> None:
    assert bool(POLICY_NAME.fullmatch(text)) is taken
