"""Sources that keep presenting what is refused: they are slowed, their neighbours and their victims are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.checks import assert_problem
from tests.support.server import VaultServer, eventually
from tests.support.wire import Answer

Start = Callable[..., VaultServer]
ALLOWED = 4
SLOWED = f'[server]\ntrusted_proxies = ["127.0.0.1"]\n[auth]\nmax_failures_per_minute = {ALLOWED}\n'


@pytest.fixture
def server(another_vault: Start) -> VaultServer:
    return another_vault(settings=SLOWED)


def guess(server: VaultServer, number: int = 0, source: str = "203.0.113.9") -> Answer:
    headers = {"X-Vault-Key": f"guess-{number}", "X-Forwarded-For": source}
    return server.call(None, "GET", "/vault/card/none-such", headers=headers)


def exhaust(server: VaultServer, source: str = "203.0.113.9") -> None:
    for number in range(ALLOWED):
        assert_problem(guess(server, number, source), 401, "unauthenticated")


def test_beyond_the_limit_of_failures_the_answer_is_429(server: VaultServer) -> None:
    exhaust(server)
    answer = guess(server, 5)
    assert_problem(answer, 429, "rate-limited")
    assert answer.header("www-authenticate") is None
    wait = answer.header("retry-after")
    assert wait is not None
    assert 1 <= int(wait) <= 60 / ALLOWED


def test_a_good_credential_is_answered_from_a_source_that_is_slowed(server: VaultServer) -> None:
    exhaust(server)
    assert guess(server).status == 429
    headers = {"X-Forwarded-For": "203.0.113.9"}
    assert server.call("payments", "GET", "/vault/card/none-such", headers=headers).status == 404
    assert guess(server).status == 429


def test_neither_the_owner_of_the_key_nor_another_address_is_throttled(server: VaultServer) -> None:
    """The id of a credential, here an expired one, says nothing of who presents it."""
    exhaust(server)
    for _ in range(3 * ALLOWED):
        headers = {"X-Forwarded-For": "203.0.113.9"}
        assert server.call("expired", "GET", "/vault/card/none-such", headers=headers).status == 429
    headers = {"X-Forwarded-For": "203.0.113.10"}
    assert_problem(server.call("expired", "GET", "/vault/card/none-such", headers=headers), 401, "unauthenticated")


def test_an_ipv6_source_is_its_network(server: VaultServer) -> None:
    for number in range(ALLOWED):
        assert guess(server, source=f"2001:db8:0:1::{number + 1:x}").status == 401
    assert guess(server, source="2001:db8:0:1:ffff::1").status == 429
    assert guess(server, source="2001:db8:0:2::1").status == 401


def test_whatever_is_refused_counts(server: VaultServer) -> None:
    source = {"X-Forwarded-For": "203.0.113.9"}
    for headers in ({}, {"Authorization": "Basic x"}, {"X-Vault-Key": ""}, {"X-Vault-Key": server.key("expired")}):
        assert server.call(None, "GET", "/vault/card/a", headers={**source, **headers}).status == 401
    assert server.call(None, "GET", "/docs", headers=source).status == 429
    assert server.call(None, "GET", "/health", headers=source).status == 200


def test_what_is_refused_for_another_reason_does_not(server: VaultServer) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9"}
    for _ in range(2 * ALLOWED):
        assert server.call("payments", "GET", "/vault/ach/a", headers=headers).status == 403
        assert server.call("payments", "GET", "/vault/card/a%", headers=headers).status == 400
    assert guess(server).status == 401


def test_each_is_on_record_and_counted_to_the_last_one(server: VaultServer) -> None:
    exhaust(server)
    for number in range(40):
        assert guess(server, number).status == 429

    def rows() -> list[dict[str, object]]:
        return server.rows("operation=authenticate&reason=rate_limited")

    eventually(lambda: sum(int(str(row["count"])) for row in rows()) == 40, 4)
    assert {(row["status"], row["client_address"], row["app"]) for row in rows()} == {(429, "203.0.113.9", None)}
    assert len(rows()) < 10
    shown = server.call(None, "GET", "/metrics").body.decode()
    assert f"vsqlvault_credentials_refused_total {ALLOWED + 40}.0" in shown
    assert "vsqlvault_credentials_limited_total 40.0" in shown
    assert "vsqlvault_sources_throttled 1.0" in shown


def test_the_number_can_be_set_and_ten_is_what_comes(another_vault: Start) -> None:
    server = another_vault(settings='[auth]\napi_key_app = "vault-admin"\n')
    statuses = [server.call(None, "GET", "/vault/card/a").status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
