"""What is no request, what only looks like one, and what a proxy in front might read otherwise: over a real socket."""

from __future__ import annotations

import re
import socket
import time

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.heads import REFUSED, head
from tests.support.server import VaultServer, eventually
from tests.support.wire import Answer, exchange, read_answer, request_bytes
from vsqlvault.errors import VaultError


def refused_so_far(vault: VaultServer, reason: str) -> int:
    text = vault.call(None, "GET", "/metrics").body.decode()
    found = re.search(rf'^vsqlvault_http_refused_total{{reason="{reason}"}} (\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0


def answers(vault: VaultServer, raw: bytes, count: int) -> list[Answer]:
    """Send everything at once on one connection, and read this number of responses by their lengths."""
    found = []
    with socket.create_connection(vault.address, timeout=20) as connection, connection.makefile("rb") as stream:
        connection.sendall(raw)
        for _ in range(count):
            status = int(stream.readline().split()[1])
            lines = iter(lambda: stream.readline().decode("ascii").rstrip("\r\n"), "")
            headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))
            found.append(Answer(status, headers, stream.read(int(dict(headers)["content-length"]))))
    return found


def key_line(vault: VaultServer, who: str = "payments") -> bytes:
    return b"X-Vault-Key: " + vault.key(who).encode()


@pytest.mark.parametrize(("block", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_request_is_refused_counted_and_ends_the_connection(
    vault: VaultServer, block: bytes, error: type[VaultError]
) -> None:
    """And what is smuggled behind it is never served."""
    if vault.get("payments", "card/kept").status != 200:
        vault.stored("payments", "card/kept", MARKER)
    before = refused_so_far(vault, error.reason)
    smuggled = request_bytes("DELETE", "/vault/card/kept", headers={"X-Vault-Key": vault.key("payments")})
    with socket.create_connection(vault.address, timeout=10) as connection:
        connection.sendall(block + smuggled)
        assert_problem(read_answer(connection), error.status, error.slug)
        assert connection.recv(1) == b""
    assert refused_so_far(vault, error.reason) == before + 1
    assert vault.get("payments", "card/kept").status == 200


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n", b"-1\r\n", b"+1\r\na\r\n", b"0x1\r\na\r\n", b"1\r\nab\r\n0\r\n\r\n", b"2\r\na\r\n0\r\n\r\n", b"1\na\n0\n\n",
     b"1\r\na0\r\n\r\n", b"1 \r\na\r\n0\r\n\r\n", b"fffffffffffffffff\r\n", b"1;" + b"a" * 9000, b"0\r\nX: a\x00\r\n\r\n"],
    ids=["no number", "negative", "signed", "prefixed", "longer", "shorter", "LF", "no end", "blank", "huge",
         "endless extension", "NUL"],
)  # fmt: skip
def test_a_chunk_that_is_none_ends_the_connection(vault: VaultServer, chunks: bytes) -> None:
    raw = head(key_line(vault), b"Content-Type: application/json", b"Transfer-Encoding: chunked") + chunks
    before = refused_so_far(vault, "bad_framing")
    answer = exchange(vault.address, raw + head())
    assert_problem(answer, 400, "bad-framing")
    assert answer.header("connection") == "close"
    assert refused_so_far(vault, "bad_framing") == before + 1


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "POST", "CONNECT", "gEt", "BREW", "PROPFIND"])
def test_another_method_gets_the_allowed_ones(vault: VaultServer, method: str) -> None:
    answer = vault.call("payments", method, "/vault/card/a")
    assert_refused(vault, answer, 405, "method-not-allowed", "method")
    assert answer.header("allow") is not None


@pytest.mark.parametrize(
    "target",
    ["http://localhost/vault/card/a", "https://else.example/vault/card/a", "*", "?x", "localhost:80", "//vault/card/a",
     "/vault//card/a", "/vault/card/a/", "/vault/card/a;x", "/vault/card/a#x", "/vault\\card\\a", "/vault/card/%61",
     b"/vault/card/\xc3\xa9"],
)  # fmt: skip
def test_a_target_that_is_no_plain_path_is_refused(vault: VaultServer, target: str | bytes) -> None:
    answer = vault.call("payments", "GET", target)
    assert_refused(vault, answer, 400, "invalid-path", "invalid_path")


@pytest.mark.parametrize(
    "fields",
    [
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
        (b"Connection: Upgrade", b"Upgrade: TLS/1.2"),
    ],
)
def test_an_upgrade_that_is_merely_offered_is_not_taken(vault: VaultServer, fields: tuple[bytes, ...]) -> None:
    answer = exchange(vault.address, head(*fields, b"Connection: close", start=b"GET /health HTTP/1.1"))
    assert answer.status == 200
    assert answer.header("upgrade") is None


def test_http_1_0_is_served_and_the_connection_ends(vault: VaultServer) -> None:
    answer = exchange(vault.address, b"GET /health HTTP/1.0\r\n\r\n")
    assert answer.status == 200
    assert answer.header("connection") == "close"


@pytest.mark.parametrize("length", [b"131073", b"1073741824", b"100000000000000000000", b"9" * 300])
def test_a_length_beyond_the_limit_is_refused_unread(vault: VaultServer, length: bytes) -> None:
    raw = head(key_line(vault), b"Content-Type: application/json", b"Content-Length: " + length)
    started = time.monotonic()
    assert_refused(vault, exchange(vault.address, raw), 413, "payload-too-large", "too_large")
    assert time.monotonic() - started < 0.9


def test_a_head_of_many_bytes_is_refused_while_it_comes(vault: VaultServer) -> None:
    raw = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 16384
    assert_problem(exchange(vault.address, raw), 431, "headers-too-large")
    fits = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-A: "
    fits += b"a" * (16384 - len(fits) - 4) + b"\r\n\r\n"
    assert exchange(vault.address, fits).status == 200
    assert_problem(exchange(vault.address, fits.replace(b"X-A", b"X-AA")), 431, "headers-too-large")


def test_pipelined_requests_are_answered_in_order(vault: VaultServer) -> None:
    for number in range(5):
        vault.stored("payments", f"card/piped-{number}", f"{MARKER}-{number}")
    raw = b"".join(
        head(key_line(vault), start=b"GET /vault/card/piped-%d HTTP/1.1" % (number % 5)) for number in range(40)
    )
    found = answers(vault, raw, 40)
    assert [answer.json["encrypted_value"] for answer in found] == [f"{MARKER}-{number % 5}" for number in range(40)]


class TestExpect:
    @staticmethod
    def ask(vault: VaultServer, key: bytes, length: bytes = b"30", expect: bytes = b"100-continue") -> bytes:
        """Return the first line of what comes, with no body sent."""
        raw = head(key, b"Content-Type: application/json", b"Content-Length: " + length, b"Expect: " + expect)
        with socket.create_connection(vault.address, timeout=10) as connection:
            connection.sendall(raw)
            return connection.recv(4096).partition(b"\r\n")[0]

    def test_a_body_that_will_be_read_may_come(self, vault: VaultServer) -> None:
        assert self.ask(vault, key_line(vault)) == b"HTTP/1.1 100 Continue"

    def test_an_unknown_caller_need_not_send_it(self, vault: VaultServer) -> None:
        assert self.ask(vault, b"X-Vault-Key: wrong").startswith(b"HTTP/1.1 401 ")

    def test_nor_one_whose_body_is_too_large(self, vault: VaultServer) -> None:
        assert self.ask(vault, key_line(vault), b"131073").startswith(b"HTTP/1.1 413 ")

    def test_another_expectation_is_not_met(self, vault: VaultServer) -> None:
        assert self.ask(vault, key_line(vault), expect=b"a-pony").startswith(b"HTTP/1.1 417 ")


def test_who_says_nothing_or_too_little_is_not_waited_for(vault: VaultServer) -> None:
    started = time.monotonic()
    sent = [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"]
    connections = [socket.create_connection(vault.address, timeout=10) for _ in sent]
    try:
        for connection, raw in zip(connections, sent, strict=True):
            connection.sendall(raw)
        assert vault.call(None, "GET", "/health").status == 200
        assert connections[0].recv(1) == b""
        for connection in connections[1:]:
            assert_problem(read_answer(connection), 408, "request-timeout")
            assert connection.recv(1) == b""
        assert 4 < time.monotonic() - started < 8
    finally:
        for connection in connections:
            connection.close()


def test_more_connections_than_it_bears_do_not_keep_health_away(another_vault) -> None:
    vault = another_vault(settings="[server]\nmax_connections = 20\n")
    idle = [socket.create_connection(vault.address, timeout=10) for _ in range(20)]
    try:
        answer = eventually(lambda: (found := vault.get("payments", "card/a")).status == 503 and found)
        assert_problem(answer, 503, "overloaded")
        started = time.monotonic()
        assert vault.call(None, "GET", "/health").status == 200
        assert time.monotonic() - started < 1
    finally:
        for connection in idle:
            connection.close()
    assert eventually(lambda: vault.get("payments", "card/a").status == 404)
