"""A connection URL means what it means to libpq; what is not supported is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsqlvault.errors import SettingsInvalid
from vsqlvault_plugins.storage.postgres.dsn import Address, parse_dsn


@pytest.mark.parametrize(
    ("url", "environment", "addresses"),
    [
        ("postgresql://v@db/vault", {}, ["db:5432"]),
        ("postgresql://v:p@a:6001,b:6002,c/vault", {}, ["a:6001", "b:6002", "c:5432"]),
        ("postgresql://v@a,b/vault?port=7000", {}, ["a:7000", "b:7000"]),
        ("postgresql:///vault?host=a,b&port=1,2", {}, ["a:1", "b:2"]),
        ("postgresql://v@[::1]:6432/vault", {}, ["[::1]:6432"]),
        ("postgresql://v@%2Frun%2Fpg/vault", {}, ["/run/pg:5432"]),
        ("postgresql:///vault", {"PGHOST": "a,b", "PGPORT": "1,2"}, ["a:1", "b:2"]),
        ("postgresql:///vault", {}, []),
    ],
)
def test_each_host_has_its_port(url: str, environment: dict[str, str], addresses: list[str]) -> None:
    assert [str(address) for address in parse_dsn(url, environment).addresses] == addresses


def test_the_driver_gets_the_url_without_hosts_and_without_what_is_read_here() -> None:
    url = "postgresql://v:p%40ss@a:1,b:2/vault?target_session_attrs=read-write&connect_timeout=5&user=w"
    assert parse_dsn(url, {}).url == "postgresql://v:p%40ss@/vault?user=w"


@pytest.mark.parametrize(
    ("timeout", "seconds"), [("", 2), ("connect_timeout=0", 2), ("connect_timeout=1", 2), ("connect_timeout=7", 7)]
)
def test_the_timeout_of_each_host(timeout: str, seconds: float) -> None:
    assert parse_dsn(f"postgresql://v@db/vault?{timeout}", {}).connect_seconds == seconds


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("-c%20search_path%3Dx", {"search_path": "x"}),
        ("-csearch_path%3Dx%20--lock-timeout%3D5s", {"search_path": "x", "lock_timeout": "5s"}),
        ("-c%20search_path%3Da,%5C%20b", {"search_path": "a, b"}),
    ],
)
def test_options_become_settings(options: str, settings: dict[str, str]) -> None:
    assert parse_dsn(f"postgresql://v@db/vault?options={options}", {}).settings == settings


def test_libpqs_variables_complete_the_url() -> None:
    environment = {"PGOPTIONS": "-c a=b", "PGAPPNAME": "n", "PGCONNECT_TIMEOUT": "9"}
    dsn = parse_dsn("postgresql://v@db/vault", environment)
    assert dsn.settings == {"a": "b", "application_name": "n"}
    assert dsn.connect_seconds == 9


@pytest.mark.parametrize("attributes", ["any", "read-write", "primary"])
def test_hosts_that_take_writes_may_be_asked_for(attributes: str) -> None:
    url = f"postgresql://v@db/vault?target_session_attrs={attributes}"
    assert parse_dsn(url, {}).addresses == (Address("db", 5432),)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("target_session_attrs=standby", "target_session_attrs: expected read-write, because a vault writes"),
        ("target_session_attrs=best", "target_session_attrs: expected read-write, primary or any, found 'best'"),
        ("connect_timeout=soon", "connect_timeout: expected a whole number of seconds, found 'soon'"),
        ("connect_timout=3", "found 'connect_timout' (did you mean connect_timeout?)"),
        ("sslcompression=1", "found 'sslcompression'"),
        ("sslmode=strict", "sslmode: expected one of disable, allow, prefer"),
        ("sslmode=require&sslrootcert=system", "sslmode: expected verify-full beside sslrootcert=system"),
        ("sslrootcert=/nowhere/ca.pem", "sslrootcert: expected a readable file, found: No such file"),
        ("options=-e", "options: expected -c name=value or --name=value, found '-e'"),
        ("options=-c", "options: expected -c name=value"),
        ("options=%5C", "options: expected -c name=value"),
        ("port=1,2", "expected one port or a port for each of 1 hosts, found 2"),
        ("client_encoding=latin1", "client_encoding: expected UTF8"),
        ("nothing", "expected postgresql://user@host:port/database"),
    ],
)
def test_what_is_not_supported_is_named(query: str, words: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse_dsn(f"postgresql://v:secret-word@db/vault?{query}", {})
    assert words in str(refused.value)
    assert "secret-word" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["mysql://a/b", "postgresql://db:many/vault", "postgresql://a:b@[::1/x", "postgresql://a,,b/x"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^storage\.database_url: expected"):
        parse_dsn(url, {})


def test_the_systems_authorities_leave_nothing_to_the_driver(tmp_path: Path) -> None:
    dsn = parse_dsn("postgresql://v@db/vault?sslmode=verify-full&sslrootcert=system", {})
    assert dsn.uses_system_roots
    assert "ssl" not in dsn.url
