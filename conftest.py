"""Every code block of README and docs runs: shell and curl against a real server, settings through the real reader."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from contextlib import chdir
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser

from tests.support.compile_once import compile_before_workers
from tests.support.warm_command import WarmCommand
from vsqlvault.config import load_settings

# Hundreds of processes are started here: each would compile every module again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell that starts this in the background has it ignore interrupts, and the programs that tests start and interrupt, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

SCRIPTS = Path(sys.executable).parent
PORT = "8443"
SET_UP_OF_THE_PROJECT = "python3 -m venv"
CALLS_A_VAULT = re.compile(r"\bvsql-vault (put|get|head|ls|rm|log|policy|hold|report) ")
PRELUDE = """
set -euo pipefail
curl() { command curl --fail-with-body --silent --show-error --max-time 20 "$@"; echo; }
"""
DEFAULT_SETTINGS = """
[server]
listen_addr = "127.0.0.1:8443"
[storage]
database_url = "sqlite:///vault.db"
"""
CARD_POLICY = {"max_retention_days": 365, "purge_method": "physical-delete"}

LONGEST_FILES = (
    "tests/plugins/test_postgres.py", "tests/plugins/test_sqlite_faults.py", "tests/packaging/test_wheel.py",
    "tests/acceptance/test_rogue_plugins.py", "tests/http/test_schemathesis.py", "tests/lint/test_gates.py",
    "tests/acceptance/test_state_tampering.py", "tests/acceptance/test_tampering.py", "tests/plugins/test_sqlite.py",
    "tests/acceptance/test_http2.py", "tests/acceptance/test_races.py", "tests/plugins/test_postgres_load.py",
    "tests/acceptance/test_both_versions.py", "tests/acceptance/test_workers.py", "tests/faults/test_faults.py",
    "tests/acceptance/test_forwarded_certificates.py", "tests/acceptance/test_processes.py",
    "tests/acceptance/test_hardening.py", "tests/acceptance/test_tls.py", "tests/acceptance/test_patroni.py",
    "tests/plugins/test_postgres_machine.py",
)  # fmt: skip
"""Each takes half a minute or more. They are begun first, so that no worker is left alone with one at the end."""


def pytest_configure(config: pytest.Config) -> None:
    compile_before_workers(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


class Reader:
    """What follows a page from top to bottom: a directory, its settings, and the server the page has started."""

    def __init__(self, directory: Path, command: WarmCommand) -> None:
        self.directory = directory
        self.command = command
        self.port = free_port()
        self.server: subprocess.Popen[str] | None = None
        self.environment = {
            "PATH": os.pathsep.join([str(command.directory), str(SCRIPTS), os.environ["PATH"]]),
            "HOME": str(directory),
            "VSQL_VAULT_API_KEY": "your-secret-key",
            "VSQL_VAULT_ADDR": f"http://localhost:{self.port}",
        }
        self.write_settings(DEFAULT_SETTINGS)

    def here(self, text: str) -> str:
        """Return the text with the page's port replaced by one that is free on this machine."""
        return text.replace(f":{PORT}", f":{self.port}")

    def write_settings(self, text: str) -> None:
        (self.directory / "vsql-vault.toml").write_text(self.here(text), "utf-8")

    def run(self, script: str) -> None:
        done = subprocess.run(
            ["bash", "-c", PRELUDE + self.here(script)],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{script}\n{done.stdout}\n{done.stderr}"

    def start(self, command: str) -> None:
        self.stop()
        self.server = subprocess.Popen(
            ["bash", "-c", f"exec env {self.here(command)}"],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.server.stdout
        for line in self.server.stdout:
            if "Vault API is running" in line:
                return
        raise AssertionError(f"the server did not start: {command}")

    def serve(self) -> None:
        """Start a vault with a retention policy for card, unless the page has started one."""
        if self.server is None:
            self.start("vsql-vault --config vsql-vault.toml")
            policy = json.dumps(CARD_POLICY)
            self.run(
                f"curl -X PUT http://localhost:{PORT}/admin/retention-policies/card -H 'X-Vault-Key: your-secret-key' "
                f"-H 'Content-Type: application/json' -d '{policy}'"
            )

    def stop(self) -> None:
        if self.server:
            self.server.send_signal(signal.SIGTERM)
            self.server.communicate(timeout=20)
            assert self.server.returncode == 0
            self.server = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def set_up(namespace):
    place, command = (Path(tempfile.mkdtemp(prefix=f"vsqlvault-{name}-")) for name in ("docs", "command"))
    namespace["reader"] = Reader(place, WarmCommand(command))


def tear_down(namespace):
    reader = namespace["reader"]
    try:
        reader.stop()
    finally:
        reader.command.close()
        for directory in (reader.directory, reader.command.directory):
            shutil.rmtree(directory)


def bash(example):
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("this machine has no curl or no bash")
    reader = example.namespace["reader"]
    script = example.parsed
    if "openssl" in Path(example.path).read_text("utf-8") and shutil.which("openssl") is None:
        pytest.skip("this machine has no openssl")
    command = "\n".join(line for line in script.splitlines() if line and not line.startswith("#"))
    if re.search(r"vsql-vault (serve )?--config \S+$", command):
        reader.start(command)
        return
    if "curl" in script or CALLS_A_VAULT.search(script):
        reader.serve()
    for name, value in re.findall(r"^export (\w+)=(\S+)$", script, re.MULTILINE):
        reader.environment[name] = reader.here(value)
    reader.run(script)


def sh(example):
    """The two commands that set the project up are run by tests/packaging; here they are only read."""
    assert SET_UP_OF_THE_PROJECT in example.parsed


def toml(example):
    reader = example.namespace["reader"]
    tomllib.loads(example.parsed)
    if example.parsed.startswith("# vsql-vault.toml"):
        reader.write_settings(example.parsed)
        load_settings(reader.directory / "vsql-vault.toml", {})


def python(example):
    """The blocks of a page share their names; one that calls a vault finds one where the page says."""
    reader = example.namespace["reader"]
    if f":{PORT}" in example.parsed:
        reader.serve()
    names = example.namespace.setdefault("names", {"__name__": "example"})
    with chdir(reader.directory):
        exec(compile(ast.parse(reader.here(example.parsed)), example.path, "exec"), names)


def plain(example):
    assert example.parsed.strip()


pytest_collect_file = Sybil(
    parsers=[
        CodeBlockParser("bash", bash),
        CodeBlockParser("sh", sh),
        CodeBlockParser("toml", toml),
        CodeBlockParser("json", lambda example: json.loads(example.parsed) and None),
        CodeBlockParser("python", python),
        CodeBlockParser("text", plain),
    ],
    patterns=["README.md", "docs/*.md"],
    setup=set_up,
    teardown=tear_down,
).pytest()
