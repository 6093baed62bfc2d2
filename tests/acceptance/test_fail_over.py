"""Two vaults on a primary and a standby: what a fail-over loses is noticed, and a primary that came back takes no writes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import MARKER, SIGNING_KEY
from tests.support.postgres import PostgresServer
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.standby import StandbyServer
from tests.support.together import together
from tests.support.warm_start import run_vault

PRIMARY = {"fsync": "on", "shared_buffers": "32MB", "wal_keep_size": "256MB"}
SETTINGS = "[audit]\nsigning_key_file = 'signing.key'\ncheckpoint_interval_seconds = 0.2\n"


class Pair:
    """A primary, its standby, and vaults that know both hosts."""

    def __init__(self, directory: Path, *, synchronous: bool, vaults: int = 2) -> None:
        self.primary = PostgresServer(PRIMARY, quick=True).start()
        self.standby = StandbyServer(self.primary, PRIMARY)
        self.standby.start()
        self.database = self.primary.create_database()
        if synchronous:
            self.primary.settings["synchronous_standby_names"] = "*"
            self.primary.restart()
        self.vaults: list[VaultServer] = []
        for number in range(vaults):
            place = directory / str(number)
            place.mkdir()
            (place / "signing.key").write_text(SIGNING_KEY.reveal(), "utf-8")
            (place / "signing.key").chmod(0o600)
            like = self.vaults[0] if self.vaults else None
            vault = VaultServer(place, settings=SETTINGS, database_url=self.url, apps=like.apps if like else None)
            self.vaults.append(vault.start())
        self.vaults[0].retention("card")

    @property
    def url(self) -> str:
        """The DSN of the vaults: the primary, then the standby."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://postgres:{self.primary.password}@{hosts}/{self.database}?target_session_attrs=read-write"

    def fail_over(self) -> None:
        """Kill the primary, and promote the standby."""
        self.primary.stop("immediate")
        self.standby.promote()

    def names_on(self, server: PostgresServer) -> set[str]:
        """Return the ids of the entries on a server."""
        return set(server.sql("SELECT external_id FROM vault.entries", self.database).split())

    def cut_connections(self) -> None:
        """End every connection to the promoted standby, so that each vault connects again."""
        others = f"datname = '{self.database}' AND pid <> pg_backend_pid()"
        self.standby.sql(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {others}")

    def close(self) -> None:
        for vault in self.vaults:
            vault.kill()
        self.standby.close()
        self.primary.close()


@pytest.fixture
def asynchronous(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path, synchronous=False)
    yield pair
    pair.close()


@pytest.fixture
def synchronous(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path, synchronous=True)
    yield pair
    pair.close()


@pytest.fixture
def synchronous_with_one_vault(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path, synchronous=True, vaults=1)
    yield pair
    pair.close()


def run(vault: VaultServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"VSQL_VAULT_API_KEY": vault.admin_key, "PATH": ""}
    return run_vault([*arguments, "--config", vault.directory / "vault.toml"], vault.directory, environment)


def checkpoint_size(vault: VaultServer) -> int:
    answer = vault.call("auditor", "GET", "/audit/checkpoint")
    return int(answer.body.decode().splitlines()[1]) if answer.status == 200 else 0


def test_what_an_asynchronous_standby_lost_is_not_served_and_is_named(asynchronous: Pair) -> None:
    pair = asynchronous
    one, other = pair.vaults
    one.stored("payments", "card/kept", MARKER)
    one.stored("payments", "card/gone", MARKER)
    eventually(lambda: "gone" in pair.names_on(pair.standby))
    pair.standby.replication.set("cut")
    lost = one.stored("payments", "card/lost", MARKER)
    purged = one.call("payments", "DELETE", "/vault/card/gone", headers={"Prefer": "wait"}).json
    assert purged["receipt"]
    known = checkpoint_size(one)
    eventually(lambda: checkpoint_size(other) > known)
    exported = run(one, "export-audit", "--out", "audit.zip")
    assert exported.returncode == 0, exported.stderr
    pair.fail_over()

    for vault in pair.vaults:
        for target in ("card/kept", "card/gone", "card/lost"):
            answers = [vault.get("payments", target)]
            while answers[-1].slug in {"storage-unavailable", "audit-unavailable", "outcome-unknown"}:
                answers.append(vault.get("payments", target))
            assert_problem(answers[-1], 503, "quarantined")
    size = int(pair.standby.sql("SELECT count(*) FROM vault.leaves", pair.database))
    for vault in pair.vaults:
        vault.wait_for_line(lambda line: line.get("message", "").startswith("QUARANTINE"))
        controls = vault.call("auditor", "GET", "/health/controls").json["controls"]
        (control,) = [each for each in controls if each["name"] == "log_consistent"]
        assert control["state"] == "failing"
        assert "are lost" in control["detail"]
    assert int(pair.standby.sql("SELECT count(*) FROM vault.leaves", pair.database)) == size

    key = str(SIGNING_KEY.verifier)
    confirmed = run(one, "confirm-restore", "--export", "audit.zip", "--vkey", key)
    assert confirmed.returncode == 0, confirmed.stderr
    assert "1 purged again" in confirmed.stdout
    for vault in pair.vaults:
        eventually(lambda vault=vault: vault.get("payments", "card/kept").status == 200)
        assert_problem(vault.get("payments", "card/gone"), 404, "not-found")
        assert_problem(vault.get("payments", "card/lost"), 404, "not-found")
    assert lost["external_id"] == "lost"
    (row,) = one.rows("operation=confirm-restore")
    assert "are lost" in row["detail"]
    eventually(lambda: checkpoint_size(one) > size)


def test_an_old_primary_that_comes_back_without_a_fence_takes_no_write(synchronous: Pair) -> None:
    pair = synchronous
    acknowledged = [
        name for name in map(str, range(20)) if pair.vaults[0].put("payments", f"card/a{name}").status == 201
    ]
    assert len(acknowledged) == 20
    pair.fail_over()
    for vault in pair.vaults:
        eventually(lambda vault=vault: vault.get("payments", "card/a1").status == 200)
    pair.primary.settings.pop("synchronous_standby_names")
    pair.primary.start()
    before = pair.names_on(pair.primary)
    taken = set()
    for number in range(30):
        if number % 10 == 0:
            pair.cut_connections()
        name = f"b{number}"
        if pair.vaults[number % 2].put("payments", f"card/{name}").status == 201:
            taken.add(name)
    pair.standby.stop()
    assert pair.vaults[0].put("payments", "card/refused").status == 503
    pair.standby.start()
    assert len(taken) >= 20
    assert taken <= pair.names_on(pair.standby)
    assert pair.names_on(pair.primary) == before

    fresh = pair.vaults[1]
    assert fresh.stop() == 0
    fresh.start()
    assert fresh.put("payments", "card/c").status == 201
    assert "c" in pair.names_on(pair.standby)


def test_a_level_that_does_not_wait_for_the_standby_is_a_warning_and_fails_a_control(
    synchronous_with_one_vault: Pair,
) -> None:
    pair = synchronous_with_one_vault
    pair.primary.sql(f"ALTER DATABASE {pair.database} SET synchronous_commit = local")
    vault = pair.vaults[0]
    assert vault.stop() == 0
    vault.start()
    vault.wait_for_line(lambda line: "synchronous_commit=local" in str(line.get("warning", "")))
    report = vault.call(ADMIN, "GET", "/compliance/report").json
    assert "synchronous_commit=local" in str(report)
    controls = vault.call("auditor", "GET", "/health/controls").json["controls"]
    (control,) = [each for each in controls if each["name"] == "storage_durable"]
    assert (control["state"], "a fail-over may lose it" in control["detail"]) == ("failing", True)


def test_a_commit_that_was_told_not_to_wait_for_its_standby_is_not_acknowledged(
    synchronous_with_one_vault: Pair,
) -> None:
    pair = synchronous_with_one_vault
    pair.standby.replication.set("hang")
    waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"  # the PUT may wait for the lock of another commit

    def cancel() -> bool:
        """Cancel the waits until the commit is visible: then it is done, and on no standby."""

        def look() -> bool:
            pair.primary.sql(f"SELECT pg_cancel_backend(pid) {waiting}")
            return "unsure" in pair.names_on(pair.primary)

        eventually(look, 60)
        return True

    def put() -> int:
        """Store until it is committed: behind other waits a request may be refused before its commit."""
        while True:
            status = pair.vaults[0].put("payments", "card/unsure").status
            if "unsure" in pair.names_on(pair.primary):
                return status

    status, _ = together(put, cancel)
    assert status == 503
