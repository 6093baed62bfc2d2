"""What a process must still reach to connect to PostgreSQL, now and again later."""

from __future__ import annotations

import pytest

from vsqlvault_plugins.storage.postgres.needs import needs_of

AT_HOME = ("/home/vault/.pgpass", "/home/vault/.pg_service.conf", "/home/vault/.postgresql")
HOME = {"HOME": "/home/vault"}


@pytest.mark.parametrize(
    ("url", "environment", "ports"),
    [
        ("postgresql://vault@localhost/vault", {}, (5432,)),
        ("postgresql://vault@localhost:6432/vault", {}, (5432, 6432)),
        ("postgresql://vault:pass%40word@[::1]:6432/vault", {}, (5432, 6432)),
        ("postgresql://vault@one:6001,two:6002/vault", {}, (5432, 6001, 6002)),
        ("postgresql://vault@localhost/vault?port=7000", {}, (7000,)),
        ("postgresql://vault@/vault?host=one:6001", {}, (5432, 6001)),
        ("postgresql://vault@/vault", {"PGPORT": "7001,7002"}, (7001, 7002)),
        ("postgresql://vault@/vault?service=main", {}, None),
        ("postgresql://vault@/vault", {"PGSERVICE": "main"}, None),
        ("postgresql://vault@localhost:many/vault", {}, ()),
    ],
)
def test_the_ports(url: str, environment: dict[str, str], ports: tuple[int, ...] | None) -> None:
    assert needs_of(url, HOME | environment).connect_ports == ports


def test_the_files_that_the_url_the_variables_and_the_home_name() -> None:
    found = needs_of("postgresql://vault@db/vault?sslrootcert=/pki/ca.pem", HOME | {"PGPASSFILE": "/run/secret/pgpass"})
    assert found.readable == ("/pki/ca.pem", "/run/secret/pgpass", *AT_HOME)
    assert found.writable == ()


@pytest.mark.parametrize(
    ("url", "environment", "is_needed"),
    [
        ("postgresql://vault@db/vault", HOME, False),
        ("postgresql://db/vault", HOME, True),
        ("postgresql://db/vault?user=vault", HOME, False),
        ("postgresql://db/vault", HOME | {"PGUSER": "vault"}, False),
        ("postgresql://vault@db/vault", {}, True),
    ],
)
def test_the_list_of_users_is_read_where_nobody_says_who_this_is(
    url: str, environment: dict[str, str], is_needed: bool
) -> None:
    assert ("/etc/passwd" in needs_of(url, environment).readable) == is_needed
