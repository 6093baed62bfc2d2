"""Several processes on one port: they share the storage, are replaced when they die, and end together."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually

Start = Callable[..., VaultServer]


@pytest.fixture
def server(another_vault: Start) -> Iterator[VaultServer]:
    return another_vault(settings="[server]\nworkers = 2\n")


def workers(server: VaultServer) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


def both_run(server: VaultServer) -> bool:
    lines = [line for line in server.log_lines() if "Vault API is running" in line]
    return len(lines) == 2 == len(workers(server))


def test_each_sees_at_once_what_the_other_has_committed(server: VaultServer) -> None:
    eventually(lambda: both_run(server))
    for number in range(40):
        server.stored("payments", f"card/shared-{number}", MARKER)
        assert server.get("payments", f"card/shared-{number}").json["encrypted_value"] == MARKER
    assert len(server.rows("operation=retrieve&outcome=granted")) == 40
    assert server.stop() == 0


def test_a_new_key_is_in_force_on_both_when_its_creation_is_answered(server: VaultServer) -> None:
    """Also while wrong keys come in."""
    eventually(lambda: both_run(server))
    statuses = []
    for _ in range(20):
        for wrong in range(3):
            server.call(None, "GET", "/vault/card/a", headers={"X-Vault-Key": f"vsk_wrong-{wrong}"})
        made = server.call(ADMIN, "POST", "/admin/api-keys", json_body={"app": "payments", "purposes": ["card"]})
        key = {"X-Vault-Key": made.json["key"]}
        statuses += [server.call(None, "GET", "/vault/card/none-such", headers=key).status for _ in range(4)]
    assert set(statuses) == {404}
    assert server.stop() == 0


def test_one_that_is_killed_is_replaced_and_the_other_serves_meanwhile(server: VaultServer) -> None:
    eventually(lambda: both_run(server))
    first, second = (process.pid for process in workers(server))
    os.kill(first, signal.SIGKILL)
    eventually(lambda: first not in {process.pid for process in workers(server)} and len(workers(server)) == 2)
    assert second in {process.pid for process in workers(server)}
    assert [line for line in server.log_lines() if "a worker ended and is replaced" in line]
    for number in range(20):
        server.stored("payments", f"card/after-{number}", MARKER)
    assert server.stop() == 0


def test_both_read_the_settings_again(server: VaultServer) -> None:
    eventually(lambda: both_run(server))
    del server.apps["billing"]
    server.write_config()
    server.signal(signal.SIGHUP)
    eventually(lambda: sum("settings reloaded" in line for line in server.log_lines()) == 2)
    assert server.stop() == 0


def test_one_that_is_replaced_starts_with_the_settings_that_the_others_have_read(server: VaultServer) -> None:
    eventually(lambda: both_run(server))
    key = server.apps["billing"].key
    del server.apps["billing"]
    server.write_config()
    server.signal(signal.SIGHUP)
    eventually(lambda: sum("settings reloaded" in line for line in server.log_lines()) == 2)
    replaced = {process.pid for process in workers(server)}
    for pid in replaced:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(workers(server)) == 2 and replaced.isdisjoint(each.pid for each in workers(server)))
    answer = server.call(None, "GET", "/vault/payments", headers={server.api_key_header: key}, seconds=20)
    assert (answer.status, answer.json["type"]) == (401, "urn:vsqlvault:problem:unauthenticated")
    assert server.stop() == 0


def test_settings_that_cannot_be_used_are_not_those_of_a_worker_that_is_replaced(server: VaultServer) -> None:
    eventually(lambda: both_run(server))
    (server.directory / "vault.toml").write_text("[server]\nworkers = 'many'\n", "utf-8")
    server.signal(signal.SIGHUP)
    eventually(lambda: sum("reload refused" in line for line in server.log_lines()) == 2)
    first = workers(server)[0].pid
    os.kill(first, signal.SIGKILL)
    eventually(lambda: len([line for line in server.log_lines() if "Vault API is running" in line]) == 3)
    assert server.put("payments", "card/still").status == 201
    assert server.stop() == 0


def test_credentials_are_counted_once_however_many_processes_know_them(server: VaultServer) -> None:
    eventually(lambda: both_run(server))
    server.call(ADMIN, "POST", "/admin/api-keys", json_body={"app": "minted"})
    wanted = f'vsqlvault_credentials{{method="api-key",state="active"}} {len(server.apps) + 1}.0'
    for _ in range(10):  # whichever of them answers, once it has heard of the key
        eventually(lambda: wanted in server.call(None, "GET", "/metrics").body.decode())
    assert server.stop() == 0


def test_they_end_with_their_supervisor_however_it_ends(server: VaultServer) -> None:
    eventually(lambda: both_run(server))
    orphans = workers(server)
    server.kill()
    assert psutil.wait_procs(orphans, timeout=20)[1] == []


def test_settings_that_no_worker_can_use_end_it_with_the_sentence(another_vault: Start) -> None:
    with pytest.raises(AssertionError, match="the server ended") as ended:
        another_vault(settings="[server]\nworkers = 2\n[plugins]\nallow = ['nobody']\n")
    assert "Traceback" not in str(ended.value)


def total(server: VaultServer, name: str) -> float:
    """Return the sum of a metric's samples, as one worker or the other tells them."""
    lines = server.call(None, "GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def test_whichever_is_asked_for_metrics_answers_for_both_and_for_those_that_ended(server: VaultServer) -> None:
    eventually(lambda: both_run(server))
    for number in range(50):
        server.stored("payments", f"card/counted-{number}", MARKER)
    counted = 'vsqlvault_http_requests_total{method="PUT",route="/vault/{purpose}/{external_id}",status="201"}'
    assert eventually(lambda: total(server, counted) == 50)
    assert [total(server, counted) for _ in range(20)] == [50] * 20
    os.kill(workers(server)[0].pid, signal.SIGKILL)
    assert eventually(lambda: total(server, "vsqlvault_workers_replaced_total") == 1)
    eventually(lambda: len(workers(server)) == 2)
    assert [total(server, counted) for _ in range(20)] == [50] * 20
    assert server.stop() == 0
