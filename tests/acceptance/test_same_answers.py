"""SQLite, and PostgreSQL on four shards, answer alike: the same requests, the same answers but for ids and times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import MARKER
from tests.support.postgres import Databases
from tests.support.server import VaultServer
from vsqlvault.testing.same_answers import difference, requests, shown


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, postgres: Databases) -> Iterator[tuple[VaultServer, VaultServer]]:
    name = postgres.create_database()
    pair: list[VaultServer] = []
    for url in (None, postgres.url(name)):
        directory: Path = tmp_path_factory.mktemp("same")
        server = VaultServer(
            directory,
            database_url=url,
            apps=pair[0].apps if pair else None,
            environment={"VSQL_VAULT_STORAGE__SHARDS": "4"},
        )
        pair.append(server)
        server.start()
    try:
        yield pair[0], pair[1]
        for server in pair:
            assert server.stop() == 0
            server.assert_log_is_clean([MARKER])
    finally:
        for server in pair:
            server.kill()
        postgres.drop_database(name)


def test_every_answer_is_the_same(servers: tuple[VaultServer, VaultServer]) -> None:
    statuses = set()
    for asked in requests(MARKER):
        answers = [server.call(asked.app, asked.method, asked.target, json_body=asked.body) for server in servers]
        one, other = (shown(each.status, [name for name, _ in each.headers], each.body) for each in answers)
        assert one == other, (asked[:3], difference(one, other))
        statuses.add(one.status)
    assert {200, 201, 400, 401, 403, 404, 409, 410, 422} <= statuses
