"""Clients that are slow, that lie about lengths, or that go away."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import Any

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import VaultServer, eventually
from tests.support.wire import exchange, read_answer, request_bytes

BODY = json.dumps({"encrypted_value": MARKER}).encode()
BODY_LIMIT = 131072


def head(vault: VaultServer, external_id: str, *framing: tuple[str, str]) -> bytes:
    headers = [("X-Vault-Key", vault.key("payments")), ("Content-Type", "application/json"), *framing]
    return request_bytes("PUT", f"/vault/card/{external_id}", headers=headers)


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + (b"0\r\n\r\n" if end else b"")


def rows_of(vault: VaultServer, external_id: str) -> list[dict[str, Any]]:
    return vault.rows(f"purpose=card&external_id={external_id}")


class TestChunked:
    FRAMING = ("Transfer-Encoding", "chunked")

    def test_a_chunked_body_is_a_body(self, vault: VaultServer) -> None:
        raw = head(vault, "chunked-1", self.FRAMING) + chunked(*(BODY[place : place + 1] for place in range(len(BODY))))
        assert exchange(vault.address, raw).status == 201

    def test_a_chunked_body_beyond_the_limit_is_refused_with_a_row(self, vault: VaultServer) -> None:
        raw = head(vault, "chunked-2", self.FRAMING) + chunked(*[b" " * 16384] * 9)
        assert_refused(vault, exchange(vault.address, raw), 413, "payload-too-large", "too_large")

    def test_a_chunked_body_one_byte_beyond_the_limit_is_refused_with_a_row(self, vault: VaultServer) -> None:
        raw = head(vault, "chunked-3", self.FRAMING) + chunked(BODY.ljust(BODY_LIMIT + 1))
        assert_refused(vault, exchange(vault.address, raw), 413, "payload-too-large", "too_large")

    def test_a_chunked_body_of_exactly_the_limit_is_taken(self, vault: VaultServer) -> None:
        raw = head(vault, "chunked-4", self.FRAMING) + chunked(BODY.ljust(BODY_LIMIT))
        assert exchange(vault.address, raw).status == 201

    def test_a_chunked_body_without_end_is_refused_while_it_still_comes(self, vault: VaultServer) -> None:
        raw = head(vault, "chunked-5", self.FRAMING) + chunked(*[b" " * 16384] * 10, end=False)
        started = time.monotonic()
        assert_problem(exchange(vault.address, raw), 413, "payload-too-large")
        assert time.monotonic() - started < 0.9

    def test_a_chunked_body_beyond_the_limit_is_not_stored(self, vault: VaultServer) -> None:
        exchange(vault.address, head(vault, "chunked-6", self.FRAMING) + chunked(BODY, b" " * BODY_LIMIT))
        assert_problem(vault.get("payments", "card/chunked-6"), 404, "not-found")


class TestGoingAway:
    CUTS = {
        "half of the body": lambda vault, name: head(vault, name, ("Content-Length", str(len(BODY)))) + BODY[:10],
        "no body": lambda vault, name: head(vault, name, ("Content-Length", str(len(BODY)))),
        "all but a byte": lambda vault, name: head(vault, name, ("Content-Length", str(len(BODY)))) + BODY[:-1],
        "JSON that is whole": lambda vault, name: head(vault, name, ("Content-Length", str(len(BODY) + 1))) + BODY,
        "chunks without end": lambda vault, name: (
            head(vault, name, ("Transfer-Encoding", "chunked")) + chunked(BODY, end=False)
        ),
    }

    @pytest.mark.parametrize("cut", CUTS)
    @pytest.mark.parametrize("how", ["half-close", "close", "reset"])
    def test_a_cut_body_leaves_a_row_and_no_entry(self, vault: VaultServer, cut: str, how: str) -> None:
        name = f"cut-{how}-{cut.replace(' ', '-')}"
        with socket.create_connection(vault.address, timeout=5) as connection:
            connection.sendall(self.CUTS[cut](vault, name))
            time.sleep(0.05)
            if how == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how == "half-close":
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
        (row,) = eventually(lambda: rows_of(vault, name), 3)
        assert (row["operation"], row["outcome"], row["reason"], row["app"]) == (
            "store",
            "denied",
            "client_abort",
            "payments",
        )
        assert vault.get("payments", f"card/{name}").status == 404

    def test_a_put_whose_client_is_gone_is_done_with_its_row_or_not_at_all(self, vault: VaultServer) -> None:
        names = [f"gone-{number}" for number in range(120)]
        for number, name in enumerate(names):
            with socket.create_connection(vault.address, timeout=5) as connection:
                connection.sendall(head(vault, name, ("Content-Length", str(len(BODY)))) + BODY)
                time.sleep((number % 12) * 0.0002)
                if number % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.3)
        stored = {name for name in names if vault.get("payments", f"card/{name}").status == 200}
        granted = [
            row["external_id"]
            for row in vault.rows("purpose=card&operation=store&outcome=granted")
            if row["external_id"] in names
        ]
        assert sorted(granted) == sorted(stored)
        assert stored

    def test_a_get_whose_client_is_gone_leaves_its_row(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/gone-get", MARKER)
        for _ in range(20):
            with socket.create_connection(vault.address, timeout=5) as connection:
                connection.sendall(
                    request_bytes("GET", "/vault/card/gone-get", headers={"X-Vault-Key": vault.key("payments")})
                )
        eventually(lambda: len(rows_of(vault, "gone-get")) == 21, 3)

    def test_a_reader_of_the_log_that_goes_away_disturbs_nobody(self, vault: VaultServer) -> None:
        headers = {"X-Vault-Key": vault.key("auditor"), "Accept": "application/x-ndjson"}
        for _ in range(10):
            with socket.create_connection(vault.address, timeout=5) as connection:
                connection.sendall(request_bytes("GET", "/admin/access-log", headers=headers))
                connection.recv(100)
        assert vault.call(None, "GET", "/health").status == 200


class TestSlowness:
    def test_a_body_that_does_not_come_is_given_up_with_a_row(self, vault: VaultServer) -> None:
        raw = head(vault, "slow-1", ("Content-Length", "1000")) + b'{"encrypted_value":'
        started = time.monotonic()
        answer = exchange(vault.address, raw)
        assert_refused(vault, answer, 408, "request-timeout", "body_timeout")
        assert 0.9 < time.monotonic() - started < 3

    def test_a_body_that_trickles_is_given_up(self, vault: VaultServer) -> None:
        with socket.create_connection(vault.address, timeout=5) as connection:
            connection.sendall(head(vault, "slow-2", ("Content-Length", "100000")))
            stop = threading.Event()

            def trickle() -> None:
                while not stop.wait(0.1):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

            sender = threading.Thread(target=trickle)
            sender.start()
            try:
                assert_problem(read_answer(connection), 408, "request-timeout")
            finally:
                stop.set()
                sender.join()

    def test_slow_clients_do_not_slow_others(self, vault: VaultServer) -> None:
        slow = [socket.create_connection(vault.address, timeout=5) for _ in range(50)]
        try:
            for number, connection in enumerate(slow):
                connection.sendall(head(vault, f"slow-3-{number}", ("Content-Length", "1000")) + b"{")
            started = time.monotonic()
            assert vault.put("payments", "card/slow-4", MARKER).status == 201
            assert time.monotonic() - started < 0.5
        finally:
            for connection in slow:
                connection.close()

    def test_a_slow_reader_does_not_slow_others(self, vault: VaultServer) -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        with connection:
            connection.connect(vault.address)
            headers = {"X-Vault-Key": vault.key("auditor"), "Accept": "application/x-ndjson"}
            connection.sendall(request_bytes("GET", "/admin/access-log", headers=headers))
            time.sleep(0.1)
            started = time.monotonic()
            assert vault.put("payments", "card/slow-5", MARKER).status == 201
            assert time.monotonic() - started < 0.5


def test_a_connection_can_be_used_again_after_a_refusal(vault: VaultServer) -> None:
    key = ("X-Vault-Key", vault.key("payments"))
    keep = ("Connection", "keep-alive")
    with socket.create_connection(vault.address, timeout=5) as connection:
        connection.sendall(request_bytes("GET", "/vault/card/none-such", headers=[key, keep]))
        assert read_answer(connection).status == 404
        connection.sendall(request_bytes("GET", "/vault/card?limit=1", headers=[key, keep]))
        assert read_answer(connection).status == 200


def test_an_unread_body_is_never_taken_for_the_next_request(vault: VaultServer) -> None:
    inner = request_bytes("DELETE", "/vault/card/smuggled", headers={"X-Vault-Key": vault.key("payments")})
    vault.stored("payments", "card/smuggled", MARKER)
    headers = [("X-Vault-Key", "wrong"), ("Content-Type", "application/json"), ("Connection", "keep-alive")]
    with socket.create_connection(vault.address, timeout=5) as connection:
        connection.sendall(request_bytes("PUT", "/vault/card/x", headers=headers, body=inner))
        assert read_answer(connection).status == 401
        time.sleep(0.2)
    assert vault.get("payments", "card/smuggled").status == 200
