"""What of an HTTP/2 header section is no request, by RFC 9113."""

from __future__ import annotations

import pytest

from vsqlvault.errors import BadFraming, ExpectationFailed, HeadTooLarge, UpgradeRefused, VaultError
from vsqlvault.http.server.framing import HUGE
from vsqlvault.http.server.http2_head import read_http2_head

GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost:8443"), (b":path", b"/a?b=c")]


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [pair for pair in GET if pair[0] != name]


def test_a_request_has_its_authority_as_host() -> None:
    head = read_http2_head([*GET, (b"x-a", b"1"), (b"x-a", b"2")])
    assert (head.method, head.target) == ("GET", b"/a?b=c")
    assert head.headers == ((b"host", b"localhost:8443"), (b"x-a", b"1"), (b"x-a", b"2"))
    assert (head.length, head.awaits_continue) == (None, False)


def test_a_length_of_many_digits_is_huge() -> None:
    assert read_http2_head([*GET, (b"content-length", b"9" * 30)]).length == HUGE


REFUSED: dict[str, tuple[list[tuple[bytes, bytes]], type[VaultError]]] = {
    "no method": (without(b":method"), BadFraming),
    "a method with a blank": ([(b":method", b"G T"), *without(b":method")], BadFraming),
    "no scheme": (without(b":scheme"), BadFraming),
    "no path": (without(b":path"), BadFraming),
    "an empty path": ([*without(b":path"), (b":path", b"")], BadFraming),
    "a path with a control": ([*without(b":path"), (b":path", b"/a\x7f")], BadFraming),
    "no authority": (without(b":authority"), BadFraming),
    "an authority with a user": ([*without(b":authority"), (b":authority", b"u@h")], BadFraming),
    "a pseudo-header twice": ([*GET, (b":path", b"/")], BadFraming),
    "a pseudo-header behind a field": ([*without(b":path"), (b"x-a", b"1"), (b":path", b"/")], BadFraming),
    "an unknown pseudo-header": ([*GET, (b":status", b"200")], BadFraming),
    "an empty name": ([*GET, (b"", b"a")], BadFraming),
    "a name with a colon": ([*GET, (b"a:b", b"a")], BadFraming),
    "a value with CR LF": ([*GET, (b"x-a", b"a\r\nb: c")], BadFraming),
    "a value that begins with a tab": ([*GET, (b"x-a", b"\ta")], BadFraming),
    "keep-alive": ([*GET, (b"keep-alive", b"5")], BadFraming),
    "proxy-connection": ([*GET, (b"proxy-connection", b"a")], BadFraming),
    "a signed length": ([*GET, (b"content-length", b"+5")], BadFraming),
    "two lengths": ([*GET, (b"content-length", b"5"), (b"content-length", b"6")], BadFraming),
    "another expectation": ([*GET, (b"expect", b"200-ok")], ExpectationFailed),
    "an extended CONNECT": ([(b":method", b"CONNECT"), *without(b":method"), (b":protocol", b"websocket")], UpgradeRefused),
    "CONNECT with a path": ([(b":method", b"CONNECT"), *without(b":method")], BadFraming),
    "101 fields": ([*GET, *[(b"x", b"")] * 101], HeadTooLarge),
    "more than 16 KiB": ([*GET, (b"x-a", b"a" * 16_384)], HeadTooLarge),
}  # fmt: skip


@pytest.mark.parametrize(("section", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused(section: list[tuple[bytes, bytes]], error: type[VaultError]) -> None:
    with pytest.raises(error):
        read_http2_head(section)
