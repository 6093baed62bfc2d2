"""The PostgreSQL of the tests does what they rely on, and never outlives them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import MICRO, URL_VARIABLE, Databases, PostgresServer
from tests.support.postgres_keeper import processes_in
from tests.support.server import eventually

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 0.5
GONE = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError, ConnectionError)


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    with asyncio.Runner() as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 30))


async def asked(url: str, query: str = "SELECT 1") -> Any:
    connection = await asyncpg.connect(url, timeout=PATIENCE_SECONDS)
    try:
        return await connection.fetchval(query, timeout=PATIENCE_SECONDS)
    finally:
        connection.terminate()


def test_each_database_is_fresh_and_goes_even_while_somebody_is_connected(postgres: Databases, run):
    first, second = postgres.create_database(), postgres.create_database()
    postgres.sql("CREATE TABLE here (at_all int)", first)
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'here'", second) == "0"

    async def drop_under_a_connection() -> None:
        connection = await asyncpg.connect(postgres.url(first))
        await asyncio.to_thread(postgres.drop_database, first)
        with pytest.raises(GONE):
            await connection.execute("SELECT 1")

    run(drop_under_a_connection())
    postgres.drop_database(second)
    assert postgres.sql(f"SELECT count(*) FROM pg_database WHERE datname IN ('{first}', '{second}')") == "0"


def test_it_flushes_to_disk(postgres: Databases):
    assert postgres.sql("SHOW fsync") == "on"
    assert postgres.sql("SHOW synchronous_commit") == "on"


def test_micro_has_its_limits():
    with PostgresServer(MICRO) as server:
        names = ("fsync", "max_connections", "superuser_reserved_connections", "shared_buffers")
        assert [server.sql(f"SHOW {name}") for name in names] == ["on", "10", "1", "12MB"]


def test_it_may_be_set_up_unsafely_for_those_who_must_refuse_that(stoppable_postgres: PostgresServer):
    stoppable_postgres.settings["full_page_writes"] = "off"
    stoppable_postgres.restart()
    assert stoppable_postgres.sql("SHOW full_page_writes") == "off"


def test_the_next_test_has_the_settings_of_before(stoppable_postgres: PostgresServer):
    assert stoppable_postgres.sql("SHOW full_page_writes") == "on"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_keeps_the_address_and_what_was_committed(stoppable_postgres, postgres_url, run, mode):
    run(asked(postgres_url, "CREATE TABLE kept AS SELECT 7 AS number"))
    stoppable_postgres.stop(mode)
    with pytest.raises(ConnectionRefusedError):
        run(asked(postgres_url))
    stoppable_postgres.start()
    assert run(asked(postgres_url, "SELECT number FROM kept")) == 7


def test_a_paused_server_hangs_and_goes_on(stoppable_postgres: PostgresServer, postgres_url: str, run):
    async def ask_while_paused() -> None:
        connection = await asyncpg.connect(postgres_url)
        stoppable_postgres.pause()
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT 1", timeout=PATIENCE_SECONDS)
        connection.terminate()
        with pytest.raises(TimeoutError):
            await asked(postgres_url)
        stoppable_postgres.resume()
        assert await asked(postgres_url) == 1

    run(ask_while_paused())


def test_a_paused_server_can_be_stopped(stoppable_postgres: PostgresServer, postgres_url: str):
    stoppable_postgres.pause()
    stoppable_postgres.stop("immediate")
    assert not stoppable_postgres.processes()


def test_a_killed_backend_takes_all_connections_along(stoppable_postgres: PostgresServer, postgres_url: str, run):
    async def kill_one() -> None:
        killed, other = [await asyncpg.connect(postgres_url) for _ in range(2)]
        stoppable_postgres.kill_backend(killed.get_server_pid())
        for connection in (killed, other):
            with pytest.raises(GONE):
                await connection.fetchval("SELECT pg_sleep(10)")

    run(kill_one())

    def works_again() -> bool:
        with contextlib.suppress(asyncpg.PostgresError, OSError):
            return bool(run(asked(postgres_url)) == 1)
        return False

    assert eventually(works_again)


def test_only_its_own_processes_are_killed(stoppable_postgres: PostgresServer):
    with pytest.raises(AssertionError, match="not of this server"):
        stoppable_postgres.kill_backend(os.getpid())


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_a_run_that_is_killed_leaves_no_server_behind(paused: bool):
    script = (
        "import time\nfrom tests.support.postgres import PostgresServer\n"
        f"server = PostgresServer().start()\n{'server.pause()' if paused else ''}\n"
        "print(server.directory, flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as said:
        directory = Path(said.readline().strip())
    assert processes_in(directory / "data")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert eventually(lambda: not directory.exists())
    assert not processes_in(directory / "data")


def test_a_server_of_somebody_else_is_not_stopped(tmp_path: Path):
    (tmp_path / "conftest.py").write_text(
        "from tests.support.postgres import postgres, postgres_url, stoppable_postgres\n", "utf-8"
    )
    with PostgresServer() as server:
        (tmp_path / "test_elsewhere.py").write_text(
            "def test_here(postgres, postgres_url):\n"
            f"    assert ':{server.port}/' in postgres_url\n"
            "    name = postgres_url.rpartition('/')[2]\n"
            "    assert postgres.sql('SELECT current_database()', name) == name\n"
            "def test_not_ours(stoppable_postgres):\n"
            "    raise AssertionError\n",
            "utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", tmp_path],
            env={**os.environ, URL_VARIABLE: server.url("postgres"), "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "1 passed, 1 skipped" in done.stdout, done.stdout
        assert f"{URL_VARIABLE} names the server" in done.stdout
        assert server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'vault%'") == "0"
