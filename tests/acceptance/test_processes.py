"""The process: keys that come and go, an end with grace, and an end without."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import MARKER, NewDatabase
from tests.support.server import ADMIN, App, VaultServer, eventually
from tests.support.warm_start import run_vault
from tests.support.wire import read_answer, request_bytes

Start = Callable[..., VaultServer]


@pytest.fixture
def vault(another_vault: Start) -> VaultServer:
    return another_vault()


class Load:
    """Requests without pause in the background, until the block ends."""

    def __init__(self, request: Callable[[], int], threads: int = 4) -> None:
        self._request = request
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        self.statuses: list[int] = []
        self.errors: list[Exception] = []

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.statuses.append(self._request())
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(error)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class TestHangUp:
    def test_a_key_that_is_added_works(self, vault: VaultServer) -> None:
        vault.apps["fresh"] = App("fresh", ("card",))
        assert vault.get("fresh", "card/none-such").status == 401
        vault.hang_up()
        assert vault.get("fresh", "card/none-such").status == 404

    def test_a_key_that_is_removed_does_not(self, vault: VaultServer) -> None:
        removed = vault.apps["billing"]
        del vault.apps["billing"]
        vault.hang_up()
        answer = vault.call(None, "GET", "/vault/card/none-such", headers={"X-Vault-Key": removed.key})
        assert_problem(answer, 401, "unauthenticated")

    def test_a_second_key_of_an_app_lets_it_rotate(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/rotated", MARKER)
        vault.apps["payments-next"] = App("payments", ("card",))
        vault.hang_up()
        assert vault.get("payments", "card/rotated").status == 200
        del vault.apps["payments"]
        vault.hang_up()
        assert vault.get("payments-next", "card/rotated").status == 200

    def test_a_purpose_that_is_taken_away_is_gone(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/taken", MARKER)
        vault.apps["payments"] = App("payments", ("ach",), key=vault.key("payments"))
        vault.hang_up()
        assert_problem(vault.get("payments", "card/taken"), 403, "access-denied")

    def test_no_request_is_dropped(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/steady", MARKER)
        with Load(lambda: vault.get("payments", "card/steady").status) as load:
            for number in range(5):
                vault.apps[f"extra-{number}"] = App(f"extra-{number}", ("card",))
                vault.hang_up()
            eventually(lambda: len(load.statuses) > 50)
        assert load.errors == []
        assert set(load.statuses) == {200}

    def test_settings_that_are_wrong_change_nothing(self, vault: VaultServer) -> None:
        (vault.directory / "vault.toml").write_text("[auth]\nnonsense = 1\n", encoding="utf-8")
        vault.signal(signal.SIGHUP)
        line = vault.wait_for_line(lambda line: "reload refused" in line["message"])
        assert "nonsense" in line["error"]
        assert vault.get("payments", "card/none-such").status == 404

    def test_a_connection_that_is_open_loses_a_removed_key_too(self, vault: VaultServer) -> None:
        headers = [("X-Vault-Key", vault.key("billing")), ("Connection", "keep-alive")]
        raw = request_bytes("GET", "/vault/card/none-such", headers=headers)
        with socket.create_connection(vault.address, timeout=5) as connection:
            connection.sendall(raw)
            assert read_answer(connection).status == 404
            del vault.apps["billing"]
            vault.hang_up()
            connection.sendall(raw)
            assert read_answer(connection).status == 401


class TestGracefulEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_ends_well(self, vault: VaultServer, number: signal.Signals) -> None:
        vault.signal(number)
        assert vault.wait() == 0
        vault.assert_log_is_clean()

    def test_a_request_under_way_is_finished(self, vault: VaultServer) -> None:
        body = json.dumps({"encrypted_value": MARKER}).encode()
        headers = [("X-Vault-Key", vault.key("payments")), ("Content-Type", "application/json")]
        head = request_bytes("PUT", "/vault/card/late", headers=[*headers, ("Content-Length", str(len(body)))])
        with socket.create_connection(vault.address, timeout=10) as connection:
            connection.sendall(head + body[:10])
            time.sleep(0.2)
            vault.signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[10:])
            assert read_answer(connection).status == 201
        assert vault.wait() == 0
        vault.start()
        assert vault.get("payments", "card/late").status == 200

    def test_an_idle_connection_does_not_hold_it(self, vault: VaultServer) -> None:
        headers = [("X-Vault-Key", vault.key("payments")), ("Connection", "keep-alive")]
        with socket.create_connection(vault.address, timeout=10) as connection:
            connection.sendall(request_bytes("GET", "/vault/card/none-such", headers=headers))
            assert read_answer(connection).status == 404
            started = time.monotonic()
            assert vault.stop() == 0
            assert time.monotonic() - started < 5

    def test_under_load_what_was_answered_is_there(self, vault: VaultServer) -> None:
        counter = iter(range(10**6))
        stored: list[int] = []

        def put() -> int:
            number = next(counter)
            status = vault.put("payments", f"card/load-{number}", MARKER).status
            if status == 201:
                stored.append(number)
            return status

        with Load(put) as load:
            time.sleep(0.5)
            assert vault.stop() == 0
            time.sleep(0.05)
        assert set(load.statuses) <= {201, 503}
        vault.start()
        present = {row["external_id"] for row in vault.rows("operation=store&outcome=granted")}
        assert {f"load-{number}" for number in stored} <= present
        assert all(vault.get("payments", f"card/load-{number}").status == 200 for number in stored[-50:])
        vault.assert_log_is_clean([MARKER])

    def test_a_port_that_is_taken_is_one_plain_sentence(
        self, vault: VaultServer, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        config = tmp_path_factory.mktemp("taken") / "vault.toml"
        text = (vault.directory / "vault.toml").read_text(encoding="utf-8")
        text = text.replace("127.0.0.1:0", f"127.0.0.1:{vault.address[1]}").replace("vault.db", "other.db")
        config.write_text(text, encoding="utf-8")
        environment = {**os.environ, "VSQL_VAULT_API_KEY": vault.admin_key}
        done = run_vault(["serve", "--config", config], vault.directory, environment)
        assert done.returncode == 2
        assert "server.listen_addr" in done.stderr
        assert "Traceback" not in done.stderr


@dataclass
class Client:
    """One client's history: the responses, and the request in progress when the server ended."""

    server: VaultServer
    seed: int
    stored: dict[str, str] = field(default_factory=dict)
    purged: dict[str, str] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)

    def run(self) -> None:
        rng = random.Random(self.seed)
        with suppress(OSError, http.client.HTTPException):
            for number in range(10**6):
                self.step(rng, f"kill-{self.seed}-{number}")

    def step(self, rng: random.Random, new: str) -> None:
        known = sorted(self.stored)
        action = rng.choice(["put", "put", "get", "get", "replace", "delete"]) if known else "put"
        name = new if action == "put" else rng.choice(known[-20:])
        self.unknown.add(name)
        if action in {"put", "replace"}:
            value = f"{MARKER}-{rng.getrandbits(64):x}"
            assert self.server.put("payments", f"card/{name}", value).status in {200, 201}
            self.stored[name] = value
        elif action == "get":
            answer = self.server.get("payments", f"card/{name}")
            assert answer.json["encrypted_value"] == self.stored[name]
            self.read.append(answer.request_id)
        else:
            answer = self.server.delete("payments", f"card/{name}")
            assert answer.status == 200
            self.purged[name] = answer.json["id"]
            del self.stored[name]
        self.unknown.discard(name)


def is_loaded(group: list[Client]) -> bool:
    """Whether enough requests were in progress: a slow machine takes longer for it, and is not killed any sooner."""
    return sum(len(client.read) for client in group) > 25 and sum(len(client.purged) for client in group) > 5


class TestKill:
    @pytest.fixture(scope="class")
    @classmethod
    def after(
        cls, tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase
    ) -> Iterator[tuple[VaultServer, list[Client]]]:
        """Several rounds of load, each ended by a kill at a random moment; then the server as it starts again."""
        directory = tmp_path_factory.mktemp("kill")
        server = VaultServer(directory, database_url=new_database(directory))
        server.start()
        clients: list[Client] = []
        try:
            server.retention("card")
            for kill in range(5):
                group = [Client(server, kill * 10 + number) for number in range(6)]
                threads = [threading.Thread(target=client.run) for client in group]
                for thread in threads:
                    thread.start()
                eventually(partial(is_loaded, group), 30)
                time.sleep(random.Random(kill).random() * 0.3)
                server.kill()
                for thread in threads:
                    thread.join()
                clients += group
                server.start()
            yield server, clients
        finally:
            server.kill()

    def test_there_was_load(self, after: tuple[VaultServer, list[Client]]) -> None:
        _, clients = after
        assert sum(len(client.read) for client in clients) > 100
        assert sum(len(client.purged) for client in clients) > 20

    def test_what_was_acknowledged_is_there(self, after: tuple[VaultServer, list[Client]]) -> None:
        server, clients = after
        for client in clients:
            for name, value in client.stored.items():
                if name not in client.unknown:
                    assert server.get("payments", f"card/{name}").json["encrypted_value"] == value

    def test_what_was_purged_stays_purged(self, after: tuple[VaultServer, list[Client]]) -> None:
        server, clients = after
        logged = {row["id"] for row in server.purge_rows("")}
        for client in clients:
            for name, purge_id in client.purged.items():
                assert purge_id in logged
                assert server.get("payments", f"card/{name}").status == 404

    def test_every_answered_read_has_its_row(self, after: tuple[VaultServer, list[Client]]) -> None:
        server, clients = after
        granted = {row["request_id"] for row in server.rows("operation=retrieve&outcome=granted")}
        assert {request_id for client in clients for request_id in client.read} <= granted

    def test_what_was_under_way_is_whole_or_not_at_all(self, after: tuple[VaultServer, list[Client]]) -> None:
        server, clients = after
        unsure = {name for client in clients for name in client.unknown}
        assert unsure
        granted = server.rows("operation=store&outcome=granted")
        purges = server.purge_rows("")
        for name in unsure:
            versions = sum(row["external_id"] == name and row["status"] in {200, 201} for row in granted)
            gone = sum(row["external_id"] == name for row in purges)
            there = server.get("payments", f"card/{name}").status == 200
            assert versions - gone == there, (name, versions, gone, there)

    def test_the_log_of_the_next_start_is_clean(self, after: tuple[VaultServer, list[Client]]) -> None:
        server, _ = after
        server.assert_log_is_clean([MARKER])


def test_a_second_server_on_the_same_storage_sees_the_same(
    another_vault: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = another_vault()
    second = VaultServer(tmp_path_factory.mktemp("second"), apps=first.apps, database_url=first.database_url)
    second.admin_key = first.admin_key
    try:
        second.start()
        first.stored("payments", "card/shared", MARKER)
        assert second.get("payments", "card/shared").json["encrypted_value"] == MARKER
        first.access_policy("shared", store={}, retrieve={"allowed_apps": ["billing"]})
        second.stored("payments", "card/shared-2", MARKER, access_policy="shared")
        assert first.get("billing", "card/shared-2").status == 200
        assert second.call(ADMIN, "DELETE", "/admin/access-policies/shared").status == 409
        assert second.stop() == 0
        eventually(lambda: first.call(None, "GET", "/health").status == 200)
    finally:
        second.kill()


def test_while_it_drains_it_serves_and_is_not_ready(another_vault: Start) -> None:
    vault = another_vault(settings="[server]\ndrain_seconds = 600\n")
    vault.signal(signal.SIGTERM)
    answer = eventually(lambda: found if (found := vault.call(None, "GET", "/health/ready")).status == 503 else None)
    assert answer.json == {"status": "unavailable", "reason": "ending"}
    assert vault.get("payments", "card/none-such").status == 404
    vault.kill()
