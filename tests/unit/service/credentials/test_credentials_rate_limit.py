"""Who is slowed, for how long, and how much is remembered for it."""

from __future__ import annotations

import pytest

from vsqlvault.errors import (
    AmbiguousCredentials,
    CredentialInUrl,
    CredentialRefused,
    DuplicateHeader,
    PluginFailed,
    RateLimited,
    TlsRequired,
)
from vsqlvault.service.credentials.rate_limit import AuthRateLimiter, source_of

SOURCE = "192.0.2.7"


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limited(sources: AuthRateLimiter, address: str | None = SOURCE) -> int | None:
    """Fail once, and return how many seconds to wait; None where the failure is answered as what it is."""
    error = CredentialRefused("bad_key", credential_id="key-7")
    answered = sources.weigh(error, address)
    if isinstance(answered, RateLimited):
        assert answered.credential_id == "key-7"
        return answered.retry_after_seconds
    assert answered is error
    return None


def test_a_burst_up_to_the_limit_and_then_an_even_pace(clock: Clock) -> None:
    sources = AuthRateLimiter(10, clock)
    assert [limited(sources) for _ in range(12)] == [None] * 10 + [6, 6]
    clock.at += 5
    assert limited(sources) == 1
    clock.at += 1
    assert [limited(sources), limited(sources)] == [None, 6]


def test_what_is_answered_429_does_not_prolong_the_wait(clock: Clock) -> None:
    sources = AuthRateLimiter(10, clock)
    for _ in range(10):
        limited(sources)
    for _ in range(50):
        clock.at += 0.1
        assert limited(sources) is not None
    assert sources.throttled == 1
    clock.at += 1.01
    assert sources.throttled == 0


def test_all_is_forgotten_after_a_minute(clock: Clock) -> None:
    sources = AuthRateLimiter(3, clock)
    assert [limited(sources) for _ in range(4)] == [None] * 3 + [20]
    clock.at += 60
    assert [limited(sources) for _ in range(4)] == [None] * 3 + [20]


def test_one_source_is_not_another(clock: Clock) -> None:
    sources = AuthRateLimiter(1, clock)
    assert [limited(sources), limited(sources)] == [None, 60]
    assert limited(sources, "192.0.2.8") is None
    assert limited(sources, None) is None


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        (None, "local"),
        ("junk", "local"),
    ],
)
def test_an_address_is_of_a_source(address: str | None, source: str) -> None:
    assert source_of(address) == source


@pytest.mark.parametrize(
    "error", [CredentialInUrl(), DuplicateHeader(), PluginFailed(), TlsRequired()], ids=lambda error: error.slug
)
def test_only_refused_credentials_count(clock: Clock, error) -> None:
    sources = AuthRateLimiter(1, clock)
    assert [sources.weigh(error, SOURCE) for _ in range(3)] == [error] * 3
    assert limited(sources) is None


def test_two_that_disagree_count_too(clock: Clock) -> None:
    sources = AuthRateLimiter(1, clock)
    sources.weigh(AmbiguousCredentials(), SOURCE)
    assert isinstance(sources.weigh(AmbiguousCredentials(), SOURCE), RateLimited)


def test_nobody_is_slowed_where_that_is_turned_off_but_all_are_counted(clock: Clock) -> None:
    sources = AuthRateLimiter(0, clock)
    assert [limited(sources) for _ in range(100)] == [None] * 100
    assert (sources.refused, sources.limited, sources.throttled) == (100, 0, 0)


def test_the_number_of_sources_is_bounded_and_the_oldest_is_dropped(clock: Clock) -> None:
    sources = AuthRateLimiter(1, clock, max_sources=100)
    assert limited(sources) is None
    for number in range(300):
        limited(sources, f"2001:db8:{number:x}::1")
        assert limited(sources) is not None
    assert len(sources._sources) == 100
    assert limited(sources, "2001:db8::1") is None
