"""HTTP/1.1 and HTTP/2 side by side, over TLS on real sockets, as docs/http-versions.md lists them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.fixtures import NewDatabase
from tests.support.http2 import Http2Client, Section, frame, section
from tests.support.server import VaultServer
from tests.support.tls import Ground
from tests.support.wire import connected, read_answer, request_bytes

PAGE = Path(__file__).parents[2] / "docs" / "http-versions.md"
SETTINGS = "http2 = true\nbody_timeout_seconds = 1\nmax_body_bytes = 131072\nmax_value_bytes = 65536"
BODY = b'{"encrypted_value": "v"}'
LARGE = b'{"encrypted_value": "%b"}' % (b"v" * 60_000)
LENGTH = ("content-length", str(len(LARGE)))
JSON = ("content-type", "application/json")
CODES = {
    0: "NO_ERROR",
    1: "PROTOCOL_ERROR",
    7: "REFUSED_STREAM",
    8: "CANCEL",
    9: "COMPRESSION_ERROR",
    11: "ENHANCE_YOUR_CALM",
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, ground: Ground, new_database: NewDatabase
) -> Iterator[VaultServer]:
    directory = tmp_path_factory.mktemp("versions")
    server = VaultServer(directory, settings=ground.settings(more=SETTINGS), database_url=new_database(directory))
    server.tls = ground.context()
    server.start()
    server.retention("card")
    server.stored("payments", "card/large", "v" * 60_000)
    yield server
    assert server.stop() == 0
    server.assert_log_is_clean()


class Sender:
    """Sends the same thing in either version, and says in a word what came back."""

    def __init__(self, server: VaultServer, ground: Ground) -> None:
        self.server = server
        self.key = ("x-vault-key", server.key("payments"))
        self.other = ("x-vault-key", server.key("other"))
        self._ground = ground

    def one(self, raw: bytes, method: str = "GET", *, wait: float = 20) -> str:
        """Send bytes by HTTP/1.1."""
        with connected(self.server.address, wait, self._ground.context(None, "http/1.1")) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(raw)
            began = time.monotonic()
            try:
                answer = read_answer(connection, method)
            except OSError:
                return f"closed{self._after(began)}"
            return f"{answer.status} {answer.slug or ''}".strip() + self._after(began)

    def request(self, method: str, target: str | bytes, *headers: tuple[str, str], body: bytes | None = None) -> str:
        return self.one(request_bytes(method, target, headers=headers, body=body), method)

    def two(self, head: Section, body: bytes | None = None, *, ends: bool = True, more: bytes = b"") -> str:
        """Send a header section by HTTP/2, then ``body``, then the bytes ``more``."""
        with Http2Client.to(self.server.address, self._ground.context(None, "h2")) as client:
            began = time.monotonic()
            try:
                stream = client.begin(head, ends=ends and body is None)
                if body is not None:
                    client.send(stream, body, ends=ends)
                if more:
                    client.socket.sendall(more)
            except OSError:
                pass
            found = client.result(stream)
            if found.headers:
                alive = client.ask("GET", "/health").status == 200
                assert alive, "the other streams end with this one"
                return f"{found.status} {found.answer.slug or ''}".strip() + self._after(began)
            if found.reset is not None:
                return f"stream {CODES[found.reset]}" + self._after(began)
            return self._closed(client, began)

    def h2(self, method: str, path: str | bytes | None, *headers: tuple[str, str], body: bytes | None = None) -> str:
        return self.two(section(method, path, headers), body)

    def raw_two(self, sent: bytes) -> str:
        """Send bytes where the preface should be, after the handshake."""
        with Http2Client.to(self.server.address, self._ground.context(None, "h2")) as client:
            client.socket.sendall(sent)
            began = time.monotonic()
            client.read_to_end()
            return self._closed(client, began)

    def _closed(self, client: Http2Client, began: float) -> str:
        return (
            f"closed, {CODES[client.goaway[1]]}{self._after(began)}" if client.goaway else f"closed{self._after(began)}"
        )

    def _after(self, began: float) -> str:
        """Name the deadline that passed, if one did."""
        taken = time.monotonic() - began
        for least, most, text in ((4, 8, " after 5 s"), (9, 14, " after 10 s")):
            if least < taken < most:
                return text
        return "" if taken < 4 else f" after {taken:.0f} s"

    def idle(self, *protocols: str) -> str:
        """Connect, say nothing, and wait."""
        with connected(self.server.address, 15, self._ground.context(None, *protocols)) as silent:
            began = time.monotonic()
            while silent.recv(4096):
                pass
            return f"closed{self._after(began)}"

    def trickle(self, chunks: bytes, *protocols: str) -> str:
        """Send a byte every half a second until the server closes."""
        with connected(self.server.address, 15, self._ground.context(None, *protocols)) as slow:
            slow.settimeout(0.5)
            began = time.monotonic()
            for byte in chunks:
                with suppress(BrokenPipeError, ConnectionResetError):
                    slow.sendall(bytes([byte]))
                try:
                    if not slow.recv(4096):
                        return f"closed{self._after(began)}"
                except TimeoutError:
                    continue
                except OSError:
                    return f"closed{self._after(began)}"
            return "open"


def put(sender: Sender, *headers: tuple[str, str]) -> Section:
    return section("PUT", "/vault/card/a", [sender.key, JSON, *headers])


def put_one(sender: Sender, *headers: tuple[str, str], body: bytes = b"", declared: bool = False) -> bytes:
    pairs = [sender.key, JSON, *headers]
    return request_bytes("PUT", "/vault/card/a", headers=pairs, body=body if declared else None) + (
        b"" if declared else body
    )


def without(head: Section, name: bytes) -> Section:
    return [pair for pair in head if pair[0] != name]


CHUNK = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENDLESS = frame(1, b"\x82\x86", stream=1) + frame(9, b"\x00\x01a\x7f\x81\x7e" + b"b" * 253, stream=1) * 80
HEAD_1 = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
Case = tuple[Callable[[Sender], str], Callable[[Sender], str]]


def same(method: str, target: str | bytes, *headers: tuple[str, str], body: bytes | None = None) -> Case:
    """The same request in both versions, with the key of an app."""
    return (
        lambda s: s.request(method, target, s.key, *headers, body=body),
        lambda s: s.h2(method, target, s.key, *headers, body=body),
    )


CASES: dict[str, Case] = {
    "GET": same("GET", "/vault/card/large"),
    "`Upgrade: h2c`": same("GET", "/health", ("upgrade", "h2c")),
    "the preface of HTTP/2": (
        lambda s: s.one(PREFACE),
        lambda s: s.h2("GET", "/health"),
    ),
    "WebSocket": (
        lambda s: s.request("GET", "/health", ("connection", "Upgrade"), ("upgrade", "websocket")),
        lambda s: s.two([*section("CONNECT", "/health"), (b":protocol", b"websocket")]),
    ),
    "Content-Length and Transfer-Encoding": (
        lambda s: s.one(put_one(s, ("content-length", "5"), ("transfer-encoding", "chunked"))),
        lambda s: s.two(put(s, ("content-length", "5"), ("transfer-encoding", "chunked")), b"abcde"),
    ),
    "two different Content-Length": (
        lambda s: s.one(put_one(s, ("content-length", "5"), ("content-length", "6"))),
        lambda s: s.two(put(s, ("content-length", "5"), ("content-length", "6")), b"abcde"),
    ),
    "the same Content-Length twice": (
        lambda s: s.one(put_one(s, ("content-length", "5"), ("content-length", "5"))),
        lambda s: s.two(put(s, ("content-length", "5"), ("content-length", "5")), b"abcde"),
    ),
    "`Transfer-Encoding: gzip, chunked`": (
        lambda s: s.one(put_one(s, ("transfer-encoding", "gzip, chunked"))),
        lambda s: s.two(put(s, ("transfer-encoding", "gzip, chunked")), BODY),
    ),
    "Content-Length of 10^20": (
        lambda s: s.one(put_one(s, ("content-length", "1" + "0" * 20))),
        lambda s: s.two(put(s, ("content-length", "1" + "0" * 20)), ends=False),
    ),
    "Content-Length of 1 GiB": (
        lambda s: s.one(put_one(s, ("content-length", str(2**30)))),
        lambda s: s.two(put(s, ("content-length", str(2**30))), ends=False),
    ),
    "a body without length and without end": (
        lambda s: s.one(put_one(s, ("transfer-encoding", "chunked")) + CHUNK * 11),
        lambda s: s.two(put(s), b"a" * 131_073, ends=False),
    ),
    "`Expect: 100-continue`, known caller": (
        lambda s: s.request("PUT", "/vault/card/large", s.key, JSON, ("expect", "100-continue"), body=LARGE),
        lambda s: s.two(section("PUT", "/vault/card/large", [s.key, JSON, ("expect", "100-continue")]), LARGE),
    ),
    "`Expect: 100-continue`, unknown caller, body not sent": (
        lambda s: s.request("PUT", "/vault/card/a", JSON, ("expect", "100-continue"), ("content-length", "24")),
        lambda s: s.two(section("PUT", "/vault/card/a", [JSON, ("expect", "100-continue")]), ends=False),
    ),
    "`Expect: 200-ok`": same("GET", "/health", ("expect", "200-ok")),
    "two Host": (
        lambda s: s.one(b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        lambda s: s.h2("GET", "/health", ("host", "localhost"), ("host", "localhost")),
    ),
    "no Host": (
        lambda s: s.one(b"GET /health HTTP/1.1\r\n\r\n"),
        lambda s: s.two(without(section("GET", "/health"), b":authority")),
    ),
    "Authorization twice": same("GET", "/vault/card/a", ("authorization", "Bearer a"), ("authorization", "Bearer b")),
    "X-Vault-Key twice": (
        lambda s: s.request("GET", "/vault/card/a", s.key, s.other),
        lambda s: s.h2("GET", "/vault/card/a", s.key, s.other),
    ),
    "Content-Type twice": same("PUT", "/vault/card/a", JSON, JSON, body=BODY),
    "If-Match twice": same("PUT", "/vault/card/a", JSON, ("if-match", '"a"'), ("if-match", '"b"'), body=BODY),
    "Authorization and X-Vault-Key": same("GET", "/vault/card/a", ("authorization", "Bearer abc")),
    "method `gEt`": same("gEt", "/vault/card/a"),
    "TRACE": same("TRACE", "/vault/card/a"),
    "PATCH on a list": same("PATCH", "/vault/card"),
    "an unknown method": same("BREW", "/vault/card/a"),
    "OPTIONS": same("OPTIONS", "/vault/card/a"),
    "`OPTIONS *`": same("OPTIONS", "*"),
    "CONNECT": (
        lambda s: s.request("CONNECT", "example.org:443", s.key),
        lambda s: s.two([(b":method", b"CONNECT"), (b":authority", b"example.org:443"), (b"x-vault-key", s.key[1].encode())]),
    ),
    "absolute target": same("GET", "https://localhost/health"),
    "target `*`": same("GET", "*"),
    "target `?x`": same("GET", "?x"),
    "target with `#frag`": same("GET", "/vault/card/a#frag"),
    "target with `;param`": same("GET", "/vault/card/a;param"),
    "target with `\\`": same("GET", "/vault\\card/a"),
    "target with `//`": same("GET", "//vault/card/a"),
    "target with `/` at its end": same("GET", "/vault/card/a/"),
    "target with bytes beyond ASCII": same("GET", "/vault/card/é".encode()),
    "target with a blank": (
        lambda s: s.one(b"GET /vault/card/a b HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        lambda s: s.h2("GET", "/vault/card/a b", s.key),
    ),
    "target of 9,000 bytes": same("GET", "/vault/card/" + "a" * 9000),
    "a field of 20,000 bytes": same("GET", "/health", ("x-a", "a" * 20_000)),
    "1,500 fields": same("GET", "/health", *((f"x{n}", "") for n in range(1500))),
    "fields without end": (
        lambda s: s.one(HEAD_1 + b"X-A: b\r\n" * 4000),
        lambda s: s.raw_two(ENDLESS),
    ),
    "nothing after the handshake": (lambda s: s.idle("http/1.1"), lambda s: s.idle("h2")),
    "a head that trickles": (
        lambda s: s.trickle(HEAD_1, "http/1.1"),
        lambda s: s.trickle(PREFACE + b"\x00\x00\x00\x04", "h2"),
    ),
    "a body that does not come": (
        lambda s: s.one(put_one(s, ("content-length", "24"))),
        lambda s: s.two(put(s, ("content-length", "24")), ends=False),
    ),
    "a line that is folded": (
        lambda s: s.one(HEAD_1 + b"X-A: a\r\n b\r\n\r\n"),
        lambda s: s.h2("GET", "/health", ("x-a", "a\r\n b")),
    ),
    "a bare LF": (
        lambda s: s.one(HEAD_1 + b"X-A: a\nX-B: b\r\n\r\n"),
        lambda s: s.h2("GET", "/health", ("x-a", "a\nx-b: b")),
    ),
    "NUL in a value": same("GET", "/health", ("x-a", "a\0b")),
    "a blank at a value's end": same("GET", "/health", ("x-a", "a ")),
    "a name in upper case": (
        lambda s: s.request("GET", "/health", ("X-A", "a")),
        lambda s: s.two([*section("GET", "/health"), (b"X-A", b"a")]),
    ),
    "`TE: gzip`": same("GET", "/health", ("te", "gzip")),
    "`Connection: keep-alive`": same("GET", "/health", ("connection", "keep-alive")),
    "more body than Content-Length": (
        lambda s: s.one(request_bytes("PUT", "/vault/card/large", headers=[s.key, JSON], body=LARGE) + b"x"),
        lambda s: s.two(section("PUT", "/vault/card/large", [s.key, JSON, LENGTH]), LARGE + b"x"),
    ),
    "another host than :authority": (
        lambda s: s.one(b"GET https://other/health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        lambda s: s.h2("GET", "/health", ("host", "other")),
    ),
    "HTTP/1.0": (
        lambda s: s.one(b"GET /health HTTP/1.0\r\n\r\n"),
        lambda s: s.h2("GET", "/health"),
    ),
    "a second request behind one that is malformed": (
        lambda s: s.one(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + request_bytes("DELETE", "/vault/card/large", headers=[s.key])),
        lambda s: s.h2("GET", "/health", ("x-a", "a\r\n\r\nDELETE /vault/card/large")),
    ),
}  # fmt: skip


def documented() -> dict[str, tuple[str, str, str]]:
    """Return what the page says: of each input the two answers, and the reason of a difference."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.removeprefix("|").split("|")] for line in lines]
    return {cell[0]: (cell[1], cell[2], cell[3] if len(cell) > 3 else "") for cell in cells if len(cell) >= 3}


@pytest.mark.parametrize("name", CASES)
def test_both_versions_answer_as_documented(server: VaultServer, ground: Ground, name: str) -> None:
    sender = Sender(server, ground)
    first, second = CASES[name]
    measured = (first(sender), second(sender))
    expected = documented().get(name)
    assert measured == (expected or ())[:2], f"| {name} | {measured[0]} | {measured[1]} | |"


def test_a_malformed_request_smuggles_nothing(server: VaultServer) -> None:
    assert server.get("payments", "card/large").status == 200


def test_every_difference_has_its_reason_in_rfc_9113() -> None:
    table = {name: row for name, row in documented().items() if name in CASES}
    assert set(table) == set(CASES)
    unexplained = [
        name for name, (one, two, why) in table.items() if (one != two) != bool(re.match(r"RFC 9113, \d", why))
    ]
    assert unexplained == []
