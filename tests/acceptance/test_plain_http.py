"""Without TLS, a caller on another machine is refused, and the answer says what the operator can do."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from tests.support.checks import assert_problem
from tests.support.server import VaultServer
from tests.support.wire import exchange, request_bytes


def address_of_this_machine() -> str | None:
    """Return an IPv4 address that is not on the loopback: a connection to it comes from it."""
    found = [
        each.address
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family is socket.AF_INET and not each.address.startswith("127.")
    ]
    return found[0] if found else None


@pytest.mark.parametrize(("target", "keyed"), [("/vault/card/a", True), ("/vault/card/a", False), ("/health", False)])
def test_a_caller_that_is_not_on_the_loopback_learns_why_it_is_refused(
    tmp_path: Path, target: str, keyed: bool
) -> None:
    address = address_of_this_machine()
    if address is None:
        pytest.skip("this machine has only the loopback")
    server = VaultServer(tmp_path)
    config = server.write_config()
    config.write_text(config.read_text().replace('"127.0.0.1:0"', '"0.0.0.0:0"'))
    server.start()
    try:
        headers = [("X-Vault-Key", server.key("payments"))] if keyed else []
        answer = exchange((address, server.address[1]), request_bytes("GET", target, headers=headers))
        assert_problem(answer, 403, "tls-required")
        assert "on its own machine only" in answer.json["detail"]
        assert "[server.tls]" in answer.json["detail"]
        assert 'server.plaintext = "any"' in answer.json["detail"]
        rows = server.rows("outcome=denied&status=403")
        assert [row for row in rows if row["client_address"] == address]
    finally:
        server.kill()
