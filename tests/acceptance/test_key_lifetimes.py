"""Stored keys on two nodes of one storage: what is made or revoked on one holds on the other, with no gap and no delay."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fixtures import MARKER, NewDatabase
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.warm_start import run_vault
from tests.support.wire import Answer

PATH = "/admin/api-keys"
EVERY_NODE_SECONDS = 5.0
ROUNDS = 5
Pair = tuple[VaultServer, VaultServer]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("keys")
    first = VaultServer(directory, database_url=new_database(directory))
    second = VaultServer(tmp_path_factory.mktemp("keys-second"), apps=first.apps, database_url=first.database_url)
    second.admin_key = first.admin_key
    try:
        first.start()
        second.start()
        first.retention("card")
        first.stored("payments", "card/kept", MARKER)
        yield first, second
        for server in (first, second):
            assert server.stop() == 0
            server.assert_log_is_clean([MARKER])
    finally:
        for server in (first, second):
            server.kill()


def create(server: VaultServer, app: str = "payments", **fields: Any) -> dict[str, Any]:
    answer = server.call(ADMIN, "POST", PATH, json_body={"app": app, "purposes": ["card"], **fields})
    assert answer.status == 201, answer
    return dict(answer.json)


def revoke(server: VaultServer, made: dict[str, Any]) -> None:
    assert server.call(ADMIN, "DELETE", f"{PATH}/{made['key_id']}").status == 200


def get(server: VaultServer, made: dict[str, Any], target: str = "/vault/card/kept") -> Answer:
    return server.call(None, "GET", target, headers={"X-Vault-Key": made["key"]})


def test_a_key_made_on_one_node_works_on_the_other(pair: Pair) -> None:
    first, second = pair
    made = create(first)
    assert get(first, made).status == 200
    eventually(lambda: get(second, made).status == 200, EVERY_NODE_SECONDS)


def test_a_key_revoked_on_one_node_carries_out_nothing_on_the_other_from_then_on(pair: Pair) -> None:
    first, second = pair
    for _ in range(ROUNDS):
        made = create(first)
        eventually(lambda made=made: get(second, made).status == 200, EVERY_NODE_SECONDS)
        revoke(first, made)
        assert get(second, made).status == 401
        granted = first.rows(f"credential_id={made['credential_id']}&outcome=granted")
        assert [row["operation"] for row in granted] == ["retrieve"]
        assert first.rows(f"credential_id={made['credential_id']}&reason=revoked")


def test_an_idle_node_hears_of_it_in_time(pair: Pair) -> None:
    """The description of the API touches no data: no read of the request's own shows that the key is gone."""
    first, second = pair
    made = create(first)
    eventually(lambda: get(second, made, "/openapi.json").status == 200, EVERY_NODE_SECONDS)
    revoke(first, made)
    eventually(lambda: get(second, made, "/openapi.json").status == 401, EVERY_NODE_SECONDS)


class Asking:
    """Two threads on each node that retrieve without a pause, with the key that is current, until the block ends."""

    def __init__(self, pair: Pair, made: dict[str, Any]) -> None:
        self.current = made
        self._ended = threading.Event()
        self.answered: list[list[tuple[str, int]]] = [[] for _ in range(2 * len(pair))]
        self._threads = [
            threading.Thread(target=self._ask, args=(server, answered))
            for server, answered in zip((*pair, *pair), self.answered, strict=True)
        ]

    def _ask(self, server: VaultServer, answered: list[tuple[str, int]]) -> None:
        while not self._ended.is_set():
            made = self.current
            answered.append((made["key_id"], get(server, made).status))

    def next_ones(self) -> list[int]:
        """Return the statuses that each thread got in requests that it began after this was called."""
        before = [len(answered) for answered in self.answered]

        def after() -> list[list[tuple[str, int]]]:
            return [answered[start + 1 :] for start, answered in zip(before, self.answered, strict=True)]

        eventually(lambda: all(len(answered) >= 2 for answered in after()))
        return [status for answered in after() for _, status in answered]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def test_no_request_that_begins_after_the_revocation_is_carried_out_however_busy_both_nodes_are(pair: Pair) -> None:
    for _ in range(ROUNDS):
        made = create(pair[0])
        eventually(lambda made=made: get(pair[1], made).status == 200, EVERY_NODE_SECONDS)
        with Asking(pair, made) as asking:
            assert set(asking.next_ones()) == {200}
            revoke(pair[0], made)
            assert set(asking.next_ones()) == {401}


def test_keys_are_rotated_under_load_without_one_refusal(pair: Pair) -> None:
    made = create(pair[0])
    eventually(lambda: get(pair[1], made).status == 200, EVERY_NODE_SECONDS)
    with Asking(pair, made) as asking:
        for _ in range(3):
            new, old = create(pair[0]), asking.current
            eventually(lambda new=new: get(pair[1], new).status == 200, EVERY_NODE_SECONDS)
            asking.current = new
            asking.next_ones()  # requests with the old one have been answered
            revoke(pair[0], old)
    assert {status for answered in asking.answered for _, status in answered} == {200}


def test_a_use_on_one_node_is_shown_by_the_other_once_it_is_stored(
    pair: Pair, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = pair[0]
    third = VaultServer(tmp_path_factory.mktemp("third"), apps=first.apps, database_url=first.database_url).start()
    try:
        made = create(first)
        assert first.call("auditor", "GET", f"{PATH}/{made['key_id']}").json["last_used_at"] is None
        eventually(lambda: get(third, made).status == 200, EVERY_NODE_SECONDS)
        assert third.stop() == 0
    finally:
        third.kill()
    assert first.call("auditor", "GET", f"{PATH}/{made['key_id']}").json["last_used_at"] is not None


def test_the_command_makes_lists_and_revokes_keys_beside_running_servers(pair: Pair) -> None:
    first, second = pair

    def command(*arguments: str) -> str:
        environment = {**os.environ, "VSQL_VAULT_API_KEY": first.admin_key, "VSQL_VAULT_LOGGING__LEVEL": "error"}
        line = ["keys", *arguments, "--config", first.directory / "vault.toml"]
        done = run_vault(line, first.directory, environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = command("create", "--app", "payments", "--purpose", "card", "--description", "by command")
    made = {"key": printed.split()[-1], "key_id": re.findall(r"sha256:[0-9a-f]{12}", printed)[0]}
    for server in pair:
        eventually(lambda server=server: get(server, made).status == 200, EVERY_NODE_SECONDS)
    (line,) = [line for line in command("list").splitlines() if line.startswith(made["key_id"])]
    assert line.split()[1:3] == ["active", "payments"]
    assert made["key"] not in command("list")
    assert f"{made['key_id']} of payments is revoked" in command("revoke", made["key_id"])
    assert get(second, made).status == 401
    (row,) = [row for row in first.rows("operation=create-api-key&app=vsqlvault") if row["detail"] == made["key_id"]]
    assert row["method"] == "system"


def test_a_key_outlives_the_server_that_made_it(pair: Pair) -> None:
    made = create(pair[1])
    pair[1].kill()
    pair[1].start()
    assert get(pair[1], made).status == 200
