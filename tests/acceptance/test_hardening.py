"""A served vault is locked in: seen from inside by a plugin that tries to get out, and from outside by what it says."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import intruder, kernel_without
from tests.support.fixtures import MARKER, NewDatabase
from tests.support.plugins import installed
from tests.support.server import ADMIN, STEPS, VaultServer, eventually
from tests.support.warm_start import run_vault
from vsqlvault.sandbox.kernel import Kernel, StepUnavailable
from vsqlvault.sandbox.landlock import NET_ABI, SCOPE_ABI, THREADS_ABI, abi
from vsqlvault.sandbox.seccomp import KILL_PROCESS
from vsqlvault.sandbox.system_calls import ARCHITECTURES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process hardening is Linux's")
AS_FAR_AS_IT_GOES = "[hardening]\n" + "".join(f'{step} = "auto"\n' for step in STEPS)
BUSY = """
import threading
from vsqlvault.hookspecs import hookimpl

threading.Thread(target=threading.Event().wait, daemon=True).start()

@hookimpl
def vault_process_needs():
    return []
"""
Start = Callable[..., VaultServer]
Loot = dict[str, Any]


def landlock_abi() -> int:
    try:
        return abi(Kernel())
    except StepUnavailable:
        return 0


LANDLOCK = landlock_abi()
with_landlock = pytest.mark.skipif(not LANDLOCK, reason="this kernel has no Landlock, or a container forbids it")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is no business of the vault's."""
    file = tmp_path_factory.mktemp("outside") / "secret"
    file.write_text("not for the vault")
    return file


@pytest.fixture(scope="module")
def raided(
    tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase, outside: Path
) -> Iterator[tuple[VaultServer, Loot]]:
    """A vault with an intruder in it, and what that one got."""
    directory = tmp_path_factory.mktemp("raided")
    with socket.create_server(("127.0.0.1", 0)) as stranger, socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
        taken.close()
        variables = {
            "INTRUDER_READS": str(outside),
            "INTRUDER_CONNECTS": str(stranger.getsockname()[1]),
            "INTRUDER_BINDS": str(free),
        }
        plugins = tmp_path_factory.mktemp("plugins")
        variables |= installed(plugins, "intruder", Path(intruder.__file__))
        server = VaultServer(
            directory,
            by_exec=True,
            database_url=new_database(directory),
            settings=AS_FAR_AS_IT_GOES,
            environment=variables,
        )
        server.start()
        try:
            yield server, server.call("auditor", "GET", "/compliance/report").json["loot"]
        finally:
            server.kill()


@pytest.fixture
def loot(raided: tuple[VaultServer, Loot]) -> Loot:
    return raided[1]


def filter_is_possible() -> bool:
    """Whether the kernel has a filter's actions to offer, and no container forbids to ask for them."""
    action = ctypes.c_uint32(KILL_PROCESS)
    try:
        Kernel().syscall(ARCHITECTURES[Kernel.machine].seccomp, 2, 0, ctypes.addressof(action))
    except (OSError, KeyError):
        return False
    return True


POSSIBLE = {"limits": True, "no_new_privileges": True, "landlock": LANDLOCK > 0, "seccomp": filter_is_possible()}


def need(loot: Loot, step: str) -> None:
    if not POSSIBLE[step]:
        pytest.skip(f"this machine does not let a process take the step {step}")
    assert loot["hardening"][step] == "on"


def test_every_system_call_of_the_list_is_refused(loot: Loot) -> None:
    need(loot, "seccomp")
    assert {"execve", "ptrace", "mount", "bpf", "keyctl"} <= set(loot["system_calls"])
    assert {name: told for name, told in loot["system_calls"].items() if told != "EPERM"} == {}


@pytest.mark.parametrize("how", ["namespace", "thread", "child"])
def test_no_way_around_the_list(loot: Loot, how: str) -> None:
    need(loot, "seccomp")
    assert loot[how] == "EPERM"


def test_no_program_can_be_run(loot: Loot) -> None:
    need(loot, "seccomp")
    assert loot["program"] == "EPERM"


@pytest.mark.parametrize("how", ["read", "read_in_thread", "read_in_child", "list", "write", "write_to_itself"])
def test_no_file_outside_can_be_had(loot: Loot, how: str, outside: Path) -> None:
    need(loot, "landlock")
    assert loot[how] == "EACCES"
    assert not outside.with_name("new").exists()


def test_no_other_process_can_be_looked_into(loot: Loot) -> None:
    need(loot, "landlock")
    assert loot["other_process"] == "EACCES"


@pytest.mark.skipif(LANDLOCK < NET_ABI, reason="this kernel's Landlock closes no ports")
@pytest.mark.parametrize("how", ["connect", "bind"])
def test_no_other_port_can_be_had(loot: Loot, how: str) -> None:
    need(loot, "landlock")
    assert loot[how] == "EACCES"


@pytest.mark.skipif(LANDLOCK < SCOPE_ABI, reason="this kernel's Landlock lets signals out")
def test_no_other_process_can_be_signalled(loot: Loot) -> None:
    need(loot, "landlock")
    assert loot["signal"] == "EPERM"


def test_nothing_of_memory_gets_out(loot: Loot) -> None:
    need(loot, "limits")
    assert (loot["core"], loot["dumpable"], loot["umask"]) == ([0, 0], 0, 0o077)


def test_no_privilege_can_be_gained(loot: Loot) -> None:
    need(loot, "no_new_privileges")
    assert loot["no_new_privileges"] == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root looks into any process")
def test_another_process_of_the_same_user_cannot_read_the_memory(raided: tuple[VaultServer, Loot]) -> None:
    server, loot = raided
    need(loot, "limits")
    with pytest.raises(PermissionError):
        Path(f"/proc/{server.pid}/mem").read_bytes()


def test_every_thread_is_under_the_filter(raided: tuple[VaultServer, Loot]) -> None:
    server, loot = raided
    need(loot, "seccomp")
    threads = [status_of(task) for task in Path(f"/proc/{server.pid}/task").iterdir()]
    assert {(thread["Seccomp"], thread["NoNewPrivs"]) for thread in threads} == {("2", "1")}


def test_memory_is_locked_where_it_says_so(raided: tuple[VaultServer, Loot]) -> None:
    server, loot = raided
    locked = int(status_of(Path(f"/proc/{server.pid}"))["VmLck"].removesuffix(" kB"))
    assert (locked > 0) == (loot["hardening"]["memory_lock"] == "on")


def test_log_health_and_report_say_the_same(raided: tuple[VaultServer, Loot]) -> None:
    server, loot = raided
    health = server.call(ADMIN, "GET", "/health").json["hardening"]
    assert health == server.call("auditor", "GET", "/compliance/report").json["hardening"]["steps"]
    assert {name: step["state"] for name, step in health.items()} == loot["hardening"]
    line = server.wait_for_line(lambda line: line["message"] == "process hardening")
    assert {name: line[name] for name in STEPS} == {
        name: f"{step['state']}: {step['detail']}" for name, step in health.items()
    }


def test_workers_and_their_supervisor_are_locked_in(another_vault: Start) -> None:
    server = another_vault(settings="[server]\nworkers = 2\n" + AS_FAR_AS_IT_GOES)
    eventually(lambda: sum("process hardening" in line for line in server.log_lines()) == 2)
    states = server.call(ADMIN, "GET", "/health").json["hardening"]
    parent = status_of(Path(f"/proc/{server.pid}"))
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    processes = [parent, *(status_of(Path(f"/proc/{pid}")) for pid in children)]
    assert len(processes) == 3
    for process in processes:
        assert process["NoNewPrivs"] == "1"
        assert process["Seccomp"] == "2" or states["seccomp"]["state"] != "on"
        assert (process["VmLck"] != "0 kB") == (states["memory_lock"]["state"] == "on")
    assert server.stop() == 0


def status_of(process: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in (process / "status").read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


class Elsewhere(VaultServer):
    """A vault on a kernel without something."""

    lacking = ""

    def command(self) -> list[str]:
        return [sys.executable, kernel_without.__file__, self.lacking, "--", *super().command()[3:]]


@pytest.fixture(params=["limits", "memory_lock", "landlock", "seccomp"])
def lacking(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def elsewhere(tmp_path: Path, lacking: str, switch: str) -> Elsewhere:
    if not POSSIBLE["seccomp"]:
        pytest.skip(
            "this machine does not let a process be put under a filter, so nothing can be taken from its kernel"
        )
    server = Elsewhere(tmp_path, settings=f'[hardening]\n{lacking} = "{switch}"\n')
    server.lacking = lacking
    return server


def test_what_the_kernel_lacks_is_said_and_the_vault_runs(tmp_path: Path, lacking: str) -> None:
    server = elsewhere(tmp_path, lacking, "auto").start()
    try:
        states = server.call(ADMIN, "GET", "/health").json["hardening"]
        assert states[lacking]["state"] == "unavailable"
        server.retention("card")
        server.stored("payments", "card/a", MARKER)
        assert server.stop() == 0
    finally:
        server.kill()


def test_what_is_required_and_lacking_refuses_the_start(tmp_path: Path, lacking: str) -> None:
    server = elsewhere(tmp_path, lacking, "required")
    done = subprocess.run(
        server.command(),
        cwd=tmp_path,
        env={**os.environ, "VSQL_VAULT_API_KEY": server.admin_key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert re.fullmatch(rf"vsql-vault: hardening\.{lacking}: expected it to be available, found: .+\n", done.stderr), (
        done.stderr
    )


def test_an_insufficient_memory_lock_limit_is_reported(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("no limit binds root")
    server = VaultServer(tmp_path, by_exec=True, settings=AS_FAR_AS_IT_GOES).start()
    try:
        state = server.call(ADMIN, "GET", "/health").json["hardening"]["memory_lock"]
    finally:
        server.kill()
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    assert (state["state"] == "on") == (hard == resource.RLIM_INFINITY), state


def test_what_is_switched_off_is_a_warning_at_each_start(tmp_path: Path) -> None:
    server = VaultServer(tmp_path, settings='[hardening]\nlandlock = "off"\nseccomp = "off"\n').start()
    try:
        line = server.wait_for_line(lambda line: line["message"] == "hardening steps are disabled by the settings")
        assert (line["level"], line["steps"]) == ("warning", ["landlock", "seccomp"])
        assert server.call(ADMIN, "GET", "/health").json["hardening"]["seccomp"]["state"] == "off"
    finally:
        server.kill()


@with_landlock
def test_a_plugin_that_does_not_say_what_it_needs_leaves_landlock_off(tmp_path: Path) -> None:
    silent = tmp_path / "silent_plugin.py"
    silent.write_text("")
    (tmp_path / "plugins").mkdir()
    variables = installed(tmp_path / "plugins", "silent", silent)
    for switch, expected in (("auto", "off"), ("required", "on")):
        server = VaultServer(tmp_path, settings=f'[hardening]\nlandlock = "{switch}"\n', environment=variables).start()
        try:
            landlock = server.call(ADMIN, "GET", "/health").json["hardening"]["landlock"]
            assert landlock["state"] == expected
            assert ("silent" in landlock["detail"]) == (switch == "auto")
            assert server.stop() == 0
        finally:
            server.kill()


def test_a_thread_that_runs_already_is_filtered_and_landlock_does_not_pretend(tmp_path: Path) -> None:
    busy = tmp_path / "busy_plugin.py"
    busy.write_text(BUSY)
    (tmp_path / "plugins").mkdir()
    variables = installed(tmp_path / "plugins", "busy", busy)
    server = VaultServer(tmp_path, by_exec=True, settings=AS_FAR_AS_IT_GOES, environment=variables).start()
    try:
        states = server.call(ADMIN, "GET", "/health").json["hardening"]
        if POSSIBLE["seccomp"]:
            assert states["seccomp"]["state"] == "on"
            threads = [status_of(task) for task in Path(f"/proc/{server.pid}/task").iterdir()]
            assert {thread["Seccomp"] for thread in threads} == {"2"}
        if LANDLOCK and LANDLOCK < THREADS_ABI:
            assert states["landlock"]["state"] == "unavailable"
            assert states["landlock"]["detail"].startswith("2 threads are running")
    finally:
        server.kill()


@with_landlock
def test_settings_that_are_replaced_by_name_are_read_again(tmp_path: Path) -> None:
    """As editors and certbot replace a file: a new one, renamed over the old one."""
    settings, data = tmp_path / "settings", tmp_path / "data"
    settings.mkdir()
    data.mkdir()
    required = '[hardening]\nlandlock = "required"\n'
    server = VaultServer(settings, settings=required, database_url=f"sqlite:///{data / 'vault.db'}").start()
    try:
        new = settings / "new"
        new.write_text(server.write_config().read_text())
        new.replace(settings / "vault.toml")
        server.signal(signal.SIGHUP)
        told = server.wait_for_line(lambda line: "reload" in line["message"])
        assert told["message"] == "settings reloaded"
        assert server.stop() == 0
    finally:
        server.kill()


@with_landlock
def test_settings_that_need_what_is_closed_are_refused_at_once(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "here").mkdir()
    server = VaultServer(tmp_path / "here", settings='[hardening]\nlandlock = "required"\n').start()
    file = elsewhere / "keys.json"
    try:
        server.settings += f'[[auth.jwt]]\nissuer = "login"\naudience = "vault"\njwks_file = "{file}"\n'
        server.write_config()
        server.signal(signal.SIGHUP)
        told = server.wait_for_line(lambda line: "reload" in line["message"])
        assert told["message"] == "reload refused: the settings are unchanged"
        assert told["error"] == f"hardening.landlock: {file} has been inaccessible since the start; restart to allow it"
        assert server.call(ADMIN, "GET", "/health").status == 200
    finally:
        server.kill()


def imported_since(server: VaultServer, begins: int) -> list[str]:
    return [line for line in server.log_lines()[begins:] if line.startswith("import time:")]


def test_requests_for_entries_import_nothing(another_vault: Start) -> None:
    server = another_vault(by_exec=True, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert imported_since(server, 0)
    for method in ("physical-delete", "crypto-shred", "retention-expire"):
        server.retention("cold", method=method)
        server.stored("archive", f"cold/{method}", MARKER, metadata={"café": "é", "\U0001f600": 1}, key_ref="k")
        assert server.get("archive", f"cold/{method}").status == 200
        assert server.delete("archive", f"cold/{method}").status == 200
    server.access_policy("named", store={}, retrieve={"allowed_apps": ["payments"]})
    for who, method, target in (
        (ADMIN, "GET", "/health"),
        (ADMIN, "POST", "/admin/purge/sweep"),
        ("payments", "PATCH", "/vault/card/a"),
        ("payments", "GET", "/none-such"),
    ):
        assert server.call(who, method, target).status < 500
    server.call(None, "PUT", "/vault/card/a", body=b"\xff\xfe{")
    server.call("payments", "PUT", "/vault/card/a", body=b"\xff\xfe{")
    server.hang_up()
    lines = server.log_lines()
    begins = next(number for number, line in enumerate(lines) if "Vault API is running" in line)
    assert imported_since(server, begins) == []
    assert server.stop() == 0


@with_landlock
def test_what_other_requests_import_is_within_reach_and_imported_once(tmp_path: Path) -> None:
    server = VaultServer(
        tmp_path,
        by_exec=True,
        settings='[hardening]\nlandlock = "required"\nseccomp = "required"\n',
        environment={"PYTHONPROFILEIMPORTTIME": "1"},
    ).start()
    try:
        assert imported_since(server, 0)
        server.retention("card")
        for number in range(3):
            server.stored("payments", f"card/late-{number}", MARKER)
        for _ in range(2):
            begins = len(server.log_lines())
            assert server.call("payments", "GET", "/vault/card?limit=1").status == 200
            for accept in ("application/json", "application/x-ndjson", "text/csv"):
                assert server.call("auditor", "GET", "/admin/access-log", headers={"Accept": accept}).status == 200
            for who, target in (
                (None, "/metrics"), (ADMIN, "/openapi.json"), (ADMIN, "/docs"), ("auditor", "/compliance/report"),
                ("auditor", "/compliance/report?format=html"), (None, "/sign-in"),
            ):  # fmt: skip
                assert server.call(who, "GET", target).status == 200, target
        assert imported_since(server, begins) == []
        assert server.stop() == 0
    finally:
        server.kill()


def test_the_report_of_the_command_does_not_judge_the_hardening_of_the_server(tmp_path: Path) -> None:
    server = VaultServer(tmp_path)
    environment = {**os.environ, "VSQL_VAULT_API_KEY": server.admin_key}
    assert run_vault(["migrate", "--config", tmp_path / "vault.toml"], tmp_path, environment).returncode == 0
    done = run_vault(["report", "--config", tmp_path / "vault.toml"], tmp_path, environment)
    report = json.loads(done.stdout)
    assert report["hardening"]["steps"] == {}
    section = report["system_state"]
    assert section["result"] == "not_assessed"
    assert "ask the server" in json.dumps(section)
    assert "hardening step" not in json.dumps(section["exceptions"])


def test_the_environment_of_a_server_shows_no_key_and_a_reload_still_finds_it(tmp_path: Path) -> None:
    server = VaultServer(tmp_path, by_exec=True, settings='[hardening]\nlimits = "off"\n').start()
    try:
        shown = Path(f"/proc/{server.pid}/environ").read_bytes()
        assert b"VSQL_VAULT_API_KEY=" in shown
        assert server.admin_key.encode() not in shown
        server.hang_up()
        server.wait_for_line(lambda line: line["message"] == "settings reloaded")
        assert server.call("vault-admin", "GET", "/admin/access-policies").status == 200
    finally:
        server.stop()
