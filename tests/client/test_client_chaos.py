"""Nothing is lost, nothing is done twice, and nothing is reported done that was not, whatever happens on the way.

``VSQLVAULT_TEST_CLIENT_OPERATIONS=10000`` makes it a long run.
"""

from __future__ import annotations

import os
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.client.chaos import CARRIED_OUT, Fate, UnreliableNetwork
from tests.support.server import VaultServer
from vsqlvault.client import AsyncVault, Retries, Rule, Vault, errors

OPERATIONS = int(os.environ.get("VSQLVAULT_TEST_CLIENT_OPERATIONS", "400"))
SEED = int(os.environ.get("VSQLVAULT_TEST_CLIENT_SEED", "1"))
WORKERS = 8
RESTARTS = max(2, OPERATIONS // 1000)
RETRIES = Retries(max_attempts=40, max_seconds=60, first_pause_seconds=0.02, max_pause_seconds=0.5)
COUNTED = "counted"


@dataclass
class Ledger:
    """What one worker did to one entry, and the responses it got. No other worker uses the entry."""

    external_id: str
    etag: str | None = None
    value: bytes | None = None
    puts: int = 0
    deleted: list[str] = field(default_factory=list)
    maybe_deleted: int = 0
    retrieved: int = 0
    maybe_retrieved: int = 0
    had: dict[str, int] = field(default_factory=dict)


class Worker:
    """Does operations at random on entries of its own."""

    def __init__(self, vault: Any, number: int) -> None:
        self.vault = vault
        self.random = random.Random(SEED * 1000 + number)
        self.ledgers = [Ledger(f"w{number}-{entry}") for entry in range(4)]
        self.done = 0
        self.unsure: list[errors.VaultError] = []

    def run(self, operations: int) -> None:
        for _ in range(operations):
            ledger = self.random.choice(self.ledgers)
            if ledger.value is None:
                self.put(ledger)
            else:
                action = self.random.choices(
                    [self.put, self.update, self.get, self.head, self.delete], [4, 2, 4, 2, 1]
                )[0]
                action(ledger)
            self.done += 1

    def put(self, ledger: Ledger) -> None:
        value = self.random.randbytes(40)
        stored = self.vault.put("card", ledger.external_id, value, access_policy=COUNTED)
        ledger.etag, ledger.value, ledger.puts = stored.etag, value, ledger.puts + 1
        ledger.had[stored.entry_id] = ledger.had.get(stored.entry_id, 0) + 1

    def update(self, ledger: Ledger) -> None:
        stored = self.vault.update("card", ledger.external_id, metadata={"n": self.done}, ttl="9d")
        ledger.etag, ledger.had[stored.entry_id] = stored.etag, ledger.had[stored.entry_id] + 1

    def get(self, ledger: Ledger) -> None:
        try:
            found = self.vault.get("card", ledger.external_id)
        except errors.TemporarilyUnavailable as lost:
            self.unsure.append(lost)
            ledger.maybe_retrieved += 1
        else:
            assert found.value == ledger.value
            ledger.retrieved += 1

    def head(self, ledger: Ledger) -> None:
        assert self.vault.head("card", ledger.external_id).etag == ledger.etag

    def delete(self, ledger: Ledger) -> None:
        """Delete the version that is there: repeating that is safe, and finds nothing where the lost attempt did it."""
        try:
            ledger.deleted.append(self.vault.delete("card", ledger.external_id, if_match=ledger.etag).id)
        except errors.NotFound as gone:
            self.unsure.append(gone)
            ledger.maybe_deleted += 1
        ledger.etag = ledger.value = None
        ledger.retrieved = ledger.maybe_retrieved = 0  # the counter goes with the entry


def restart(server: VaultServer, stop: threading.Event, workers: list[Worker]) -> list[str]:
    """Restart the server a few times, in turn by draining it and by killing it."""
    done: list[str] = []
    for number in range(RESTARTS):
        threshold = OPERATIONS * (number + 1) // (RESTARTS + 1)
        while sum(worker.done for worker in workers) < threshold:
            if stop.wait(0.01):
                return done
        if number % 2:
            server.kill()
        else:
            assert server.stop() == 0
        server.start()
        done.append("killed" if number % 2 else "drained")
    return done


class Awaited:
    """The awaited client, called by threads: one event loop for all of them."""

    def __init__(self, url: str, portal: BlockingPortal, **options: Any) -> None:
        self._portal = portal
        self._vault = AsyncVault(url, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._vault, name)
        return lambda *arguments, **options: self._portal.call(partial(method, *arguments, **options))


@contextmanager
def client(kind: str, url: str, key: str) -> Iterator[Any]:
    if kind == "blocking":
        with Vault(url, key=key, retries=RETRIES) as vault:
            yield vault
        return
    with start_blocking_portal() as portal:
        awaited = Awaited(url, portal, key=key, retries=RETRIES)
        yield awaited
        awaited.aclose()


@pytest.mark.parametrize("kind", ["blocking", "awaited"])
def test_nothing_is_lost_doubled_or_reported_that_was_not_done(tmp_path: Path, kind: str) -> None:
    server = VaultServer(tmp_path).start()
    try:
        server.retention("card")
        server.access_policy(
            COUNTED, store={}, retrieve={"max_retrievals": 1_000_000}, purge={"allowed_apps": ["@owner"]}
        )
        with (
            UnreliableNetwork(lambda: server.address, SEED) as network,
            client(kind, network.url, server.key("payments")) as vault,
            ThreadPoolExecutor(WORKERS + 1) as pool,
        ):
            workers = [Worker(vault, number) for number in range(WORKERS)]
            stop = threading.Event()
            restarts = pool.submit(restart, server, stop, workers)
            running = [pool.submit(worker.run, OPERATIONS // WORKERS) for worker in workers]
            try:
                for each in running:
                    each.result()
            finally:
                stop.set()
            assert {"drained", "killed"} <= set(restarts.result())
        unsure = [error for worker in workers for error in worker.unsure]
        assert unsure
        assert all(error.maybe_applied for error in unsure)
        assert set(network.fates) == set(Fate)
        assert sum(network.fates[fate] for fate in CARRIED_OUT) < sum(network.fates.values())
        check(server, [ledger for worker in workers for ledger in worker.ledgers])
    finally:
        server.kill()


def check(server: VaultServer, ledgers: list[Ledger]) -> None:
    """Compare the workers' responses with the vault's data, without the unreliable network."""
    purges: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in server.purge_rows("purpose=card"):
        purges[str(row["external_id"])].append(row)
    with Vault(server.url, key=server.key("payments")) as vault:
        present = {entry.external_id: entry for entry in vault.list("card")}
        for ledger in ledgers:
            rows = purges[ledger.external_id]
            requested = [row["id"] for row in rows if row["reason"] == "requested"]
            replaced = [row for row in rows if row["reason"] == "replaced"]
            entry = present.get(ledger.external_id)
            assert set(ledger.deleted) <= set(requested), "reported deleted, and was not"
            assert len(requested) == len(ledger.deleted) + ledger.maybe_deleted, "deleted twice"
            assert len(requested) + len(replaced) + (entry is not None) == ledger.puts, (
                "stored more or less often than answered"
            )
            if ledger.value is None:
                assert entry is None, "deleted, and is there"
                continue
            assert entry is not None, "stored, and is not there"
            assert (entry.etag, entry.version) == (ledger.etag, ledger.had[entry.entry_id])
            assert ledger.retrieved <= (entry.retrievals or 0) <= ledger.retrieved + ledger.maybe_retrieved, (
                "counted twice"
            )
            assert vault.get("card", ledger.external_id).value == ledger.value


def test_a_client_waits_out_a_restart(tmp_path: Path) -> None:
    server = VaultServer(tmp_path).start()
    patient = Retries(max_attempts=100_000, max_seconds=60, first_pause_seconds=0.02, max_pause_seconds=0.1)
    try:
        server.retention("card")
        with UnreliableNetwork(lambda: server.address, SEED) as network:
            server.stop()
            with (
                Vault(network.url, key=server.key("payments"), retries=patient) as vault,
                ThreadPoolExecutor(1) as pool,
            ):
                stored = pool.submit(vault.put, "card", "p1", b"value")
                server.start()
                assert stored.result().version == 1
    finally:
        server.kill()


def test_policies_under_a_condition_survive_the_network_with_one_version_each(tmp_path: Path) -> None:
    """A change under ``if_match`` is repeated: it is in force once, or its conflict says that it may be its own."""
    server = VaultServer(tmp_path).start()
    try:
        with (
            UnreliableNetwork(lambda: server.address, SEED + 1) as network,
            Vault(network.url, key=server.admin_key, retries=RETRIES) as vault,
            Vault(server.url, key=server.admin_key) as direct,
        ):
            policy = direct.policies.access.put("turn", retrieve=Rule())
            conflicts: list[errors.VaultError] = []
            for turn in range(60):
                try:
                    vault.policies.access.put("turn", retrieve=Rule(), description=f"turn {turn}", if_match=policy.etag)
                except errors.PreconditionFailed as conflict:
                    conflicts.append(conflict)
                policy = direct.policies.access.get("turn")
                assert (policy.description, policy.version) == (f"turn {turn}", turn + 2)
            assert conflicts
            assert all(conflict.maybe_applied for conflict in conflicts)
    finally:
        server.kill()
