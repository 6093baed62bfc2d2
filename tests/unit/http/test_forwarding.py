"""The client address of a request."""

from __future__ import annotations

import pytest

from vsqlvault.config import ServerSettings
from vsqlvault.errors import BadForwarding
from vsqlvault.http.forwarding import MAX_HOPS, Forwarding

PROXIES = Forwarding(ServerSettings(trusted_proxies=("127.0.0.1", "10.0.0.0/8", "2001:db8::/32")))


@pytest.mark.parametrize(
    ("peer", "stated", "client"),
    [
        ("203.0.113.1", "198.51.100.7", "203.0.113.1"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
        ("::ffff:127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("2001:db8::1", "2001:DB9::1", "2001:db9::1"),
        ("127.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", " 198.51.100.7 ,\t10.0.0.1", "198.51.100.7"),
        (None, "198.51.100.7", None),
    ],
)
def test_it_is_the_first_that_is_no_proxy_of_ours(peer: str | None, stated: str, client: str | None) -> None:
    assert PROXIES.client(peer, [("x-forwarded-for", stated)]) == client


def test_without_the_header_it_is_the_peer() -> None:
    assert PROXIES.client("127.0.0.1", []) == "127.0.0.1"


def test_with_no_proxies_nobody_is_believed() -> None:
    assert Forwarding(ServerSettings()).client("127.0.0.1", [("x-forwarded-for", "junk")]) == "127.0.0.1"


@pytest.mark.parametrize(
    "stated",
    ["junk", "fe80::1%eth0", "[fe80::1%eth0]:80", "unknown", "198.51.100.7:port", "198.51.100.7:", "2001:db9::1]",
     "198.51.100.256",
     ",".join(["198.51.100.7"] * (MAX_HOPS + 1))],
)  # fmt: skip
def test_what_a_proxy_of_ours_may_not_send(stated: str) -> None:
    with pytest.raises(BadForwarding):
        PROXIES.client("127.0.0.1", [("x-forwarded-for", stated)])


def test_several_lines_are_one_list() -> None:
    lines = [("x-forwarded-for", "203.0.113.5"), ("x-a", "b"), ("x-forwarded-for", " 198.51.100.7, ,127.0.0.1")]
    assert PROXIES.client("127.0.0.1", lines) == "198.51.100.7"


def test_several_lines_have_the_limit_of_one() -> None:
    with pytest.raises(BadForwarding):
        PROXIES.client("127.0.0.1", [("x-forwarded-for", "198.51.100.7")] * (MAX_HOPS + 1))


def test_a_list_without_members_names_nobody() -> None:
    assert PROXIES.client("127.0.0.1", [("x-forwarded-for", " , ")]) == "127.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [("198.51.100.7:80", "198.51.100.7"), ("[2001:db9::1]:80", "2001:db9::1"), ("[2001:db9::1]", "2001:db9::1")],
)
def test_a_port_is_dropped(forwarded: str, client: str) -> None:
    assert PROXIES.client("127.0.0.1", [("x-forwarded-for", forwarded)]) == client
