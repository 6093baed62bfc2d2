"""While PostgreSQL is down, no answer to an app names its address; those to an admin, and the log, do."""

from __future__ import annotations

from pathlib import Path

from tests.support.checks import assert_problem
from tests.support.postgres import PostgresServer
from tests.support.server import ADMIN, VaultServer, eventually


def test_the_address_of_a_database_that_is_down_is_for_admins_and_the_log(
    tmp_path: Path, stoppable_postgres: PostgresServer, postgres_url: str
) -> None:
    server = VaultServer(tmp_path, database_url=postgres_url)
    try:
        server.start()
        server.retention("card")
        server.stored("payments", "card/address")
        parts = [f"{stoppable_postgres.port}", "127.0.0.1", postgres_url.rpartition("/")[2].partition("?")[0]]
        stoppable_postgres.stop("immediate")
        asked = [
            server.get("payments", "card/address"),
            server.put("payments", "card/address", "vault:v1:new"),
            server.call("payments", "GET", "/vault/card"),
            server.call("payments", "DELETE", "/vault/card/address"),
            server.call("auditor", "GET", "/compliance/report"),
            server.get("payments", "card/unread"),
            server.call(None, "GET", "/health"),
            server.call(None, "GET", "/metrics"),
        ]
        for answer in asked[:6]:
            assert answer.status == 503, answer
        # An entry that was stored here is retrieved with one commit, and without a read while the clock is fresh.
        assert asked[0].slug in {"audit-unavailable", "storage-unavailable"}
        assert_problem(asked[5], 503, "storage-unavailable")
        for answer in asked[:7]:
            assert not [part for part in parts if part.encode() in answer.body], answer
        refused = eventually(
            lambda: (found := server.call(ADMIN, "GET", "/admin/access-policies")).status == 503 and found, 20
        )
        assert str(stoppable_postgres.port) in refused.json["detail"]
        assert [line for line in server.log_lines() if str(stoppable_postgres.port) in line]
        assert not [line for line in server.log_lines() if stoppable_postgres.password in line]
    finally:
        server.kill()
