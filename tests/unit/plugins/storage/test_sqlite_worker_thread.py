"""A worker thread runs every function, in order, whatever becomes of the callers."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from vsqlvault.errors import StorageUnavailable
from vsqlvault_plugins.storage.sqlite.connection import Connection
from vsqlvault_plugins.storage.sqlite.worker_thread import WorkerThread


class Severe(BaseException):
    """An error that ``except Exception`` does not catch."""


def test_functions_run_in_the_order_of_their_calls_on_one_thread() -> None:
    async def call() -> list[tuple[int, int]]:
        worker = WorkerThread()
        calls = (worker.run(lambda number=number: (number, threading.get_ident())) for number in range(50))
        found = await asyncio.gather(*calls)
        worker.end()
        return found

    found = asyncio.run(call())
    assert [number for number, _ in found] == list(range(50))
    assert len({thread for _, thread in found} - {threading.get_ident()}) == 1


@pytest.mark.parametrize("error", [ValueError("the error"), Severe("the error")])
def test_an_error_is_raised_for_its_caller_and_the_thread_goes_on(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def call() -> tuple[object, int]:
        worker = WorkerThread()
        found = (await asyncio.gather(worker.run(fail), return_exceptions=True))[0]
        answer = await worker.run(lambda: 1)
        worker.end()
        return found, answer

    found, answer = asyncio.run(call())
    assert (str(found), answer) == ("the error", 1)


def test_a_function_runs_although_its_caller_was_cancelled() -> None:
    ran: list[str] = []

    async def call() -> None:
        worker = WorkerThread()
        blocked = threading.Event()
        running = asyncio.create_task(worker.run(lambda: (blocked.wait(), ran.append("running"))))
        waiting = asyncio.create_task(worker.run(ran.append, "waiting"))
        await asyncio.sleep(0)
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        blocked.set()
        await worker.run(ran.append, "last")
        worker.end()

    asyncio.run(call())
    assert ran == ["running", "waiting", "last"]


def test_a_closed_event_loop_does_not_end_the_thread() -> None:
    worker, blocked = WorkerThread(), threading.Event()

    async def leave() -> None:
        task = asyncio.create_task(worker.run(blocked.wait))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    blocked.set()
    assert asyncio.run(worker.run(lambda: 1)) == 1
    worker.end()


def test_the_thread_ends_after_the_functions_that_were_called_before() -> None:
    async def call() -> tuple[threading.Thread, bool]:
        worker = WorkerThread()
        last = asyncio.create_task(worker.run(threading.current_thread))
        await asyncio.sleep(0)
        worker.end()
        thread = await last
        await asyncio.to_thread(thread.join, 30)
        return thread, thread.daemon

    thread, daemon = asyncio.run(call())
    assert (thread.is_alive(), daemon) == (False, True)


def test_a_connection_answers_what_was_asked_before_it_was_closed(tmp_path: Path) -> None:
    async def call() -> list[object]:
        connection = await Connection.open(tmp_path / "vault.db")
        before = asyncio.create_task(connection.run(lambda opened: opened.execute("SELECT 1").fetchone()))
        await asyncio.sleep(0)
        await connection.close()
        await connection.close()
        after = connection.run(lambda opened: opened.execute("SELECT 1").fetchone())
        return await asyncio.gather(before, after, return_exceptions=True)

    before, after = asyncio.run(call())
    assert before == (1,)
    assert isinstance(after, StorageUnavailable)
    assert str(after) == "the storage is closed"
