"""``vsql-vault migrate`` can create the role and the database first, and wait for a server that is starting."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.postgres import Databases, PostgresServer
from tests.support.tcp_proxy import TcpProxy
from vsqlvault.cli import main


class Place:
    """A role and a database that do not exist yet, reached through the socket, where the server trusts every role."""

    def __init__(self, server: PostgresServer, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.server = server
        self.name = f"Deploy {secrets.token_hex(4)}"
        self.directory = directory
        self._capsys = capsys

    def url(self, user: str | None = None, query: str | None = None) -> str:
        socket = f"host={self.server.directory}&port={self.server.port}"
        return f"postgresql://{quote(self.name) if user is None else user}@/{quote(self.name)}?{query or socket}"

    def migrate(self, *arguments: str, url: str | None = None) -> tuple[int, str, str]:
        """Return the exit code, and what is printed to stdout and stderr."""
        settings = self.directory / "vsql-vault.toml"
        settings.write_text(f'[storage]\ndatabase_url = "{url or self.url()}"\n')
        code = main(["migrate", f"--config={settings}", *arguments])
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err


@pytest.fixture
def place(postgres: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    if not isinstance(postgres, PostgresServer):
        pytest.skip("the server is not one of ours")
    found = Place(postgres, tmp_path, capsys)
    yield found
    postgres.sql(f'DROP DATABASE IF EXISTS "{found.name}" WITH (FORCE)')
    postgres.sql(f'DROP ROLE IF EXISTS "{found.name}"')


def test_role_database_and_schema_are_created_once(place: Place) -> None:
    code, out, err = place.migrate("--create-database-as=postgres")
    assert (code, err, "from version 0" in out) == (0, "", True)
    owner = (
        f"SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding) FROM pg_database WHERE datname = '{place.name}'"
    )
    assert place.server.sql(owner) == f"{place.name}|UTF8"
    role = f"SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = '{place.name}'"
    assert place.server.sql(role) == "t|f|f|f"
    code, out, _ = place.migrate("--create-database-as=postgres")
    assert (code, "nothing to do" in out) == (0, True)


REFUSALS = {
    "a password": (
        lambda place: place.url(user="nobody:secret"),
        "storage.database_url: expected a URL without a password, to create its role",
    ),
    "several hosts": (
        lambda place: place.url(query="host=127.0.0.1,127.0.0.2"),
        "storage.database_url: expected one host, to create a database there, found several",
    ),
    "no role": (
        lambda place: f"postgresql:///vault?host={place.server.directory}",
        "storage.database_url: expected a role and a database, to create them",
    ),
    "another kind of storage": (
        lambda place: f"sqlite:///{place.directory}/vault.db",
        "--create-database-as: expected a storage with roles and databases, found sqlite",
    ),
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_created_is_refused(place: Place, case) -> None:
    url, sentence = case
    code, _, err = place.migrate("--create-database-as=postgres", url=url(place))
    assert (code, sentence in err, "secret" in err) == (2, True, False), err
    assert place.server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'nobody'") == "0"


def test_an_admin_that_does_not_exist_is_named(place: Place) -> None:
    code, _, err = place.migrate("--create-database-as=nobody-here")
    assert (code, "the server does not let the role nobody-here in" in err) == (2, True), err


def test_a_plan_creates_nothing(place: Place) -> None:
    code, _, err = place.migrate("--create-database-as=postgres", "--plan")
    assert (code, "expected no --plan beside it" in err) == (2, True)
    assert place.server.sql(f"SELECT count(*) FROM pg_database WHERE datname = '{place.name}'") == "0"


def test_a_server_that_is_starting_is_waited_for(place: Place) -> None:
    proxy = TcpProxy(place.server.port)
    try:
        proxy.set("cut")
        url = f"postgresql://postgres:{place.server.password}@127.0.0.1:{proxy.port}/postgres"
        assert place.migrate("--plan", url=url)[0] == 2
        threading.Timer(1.5, proxy.set, ["pass"]).start()
        code, out, err = place.migrate("--plan", "--wait=60", url=url)
        assert (code, out.startswith("schema version")) == (0, True), err
    finally:
        proxy.close()


@pytest.mark.parametrize("found", ["-1", "1.5", "3601", "soon"])
def test_a_wait_is_a_number_of_seconds(place: Place, found: str) -> None:
    with pytest.raises(SystemExit) as ended:
        place.migrate(f"--wait={found}")
    assert ended.value.code == 2
