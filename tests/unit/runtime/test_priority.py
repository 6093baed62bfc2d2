"""Work behind the requests of a vault: its threads have the lowest priority, and no other thread has it."""

from __future__ import annotations

import _thread
import asyncio
import os

import pytest

from vsqlvault import cli
from vsqlvault.cli import parser
from vsqlvault.runtime import run_behind, run_to_end
from vsqlvault.sandbox.priority import yield_processor

USUAL = os.sched_getscheduler(0)


async def policies() -> tuple[int, int]:
    """Return the scheduling policy of this thread, and of one that it starts."""
    return os.sched_getscheduler(0), await asyncio.to_thread(os.sched_getscheduler, 0)


def test_work_behind_has_the_lowest_priority_and_so_have_its_threads() -> None:
    assert run_behind(policies()) == (os.SCHED_IDLE, os.SCHED_IDLE)
    assert os.sched_getscheduler(0) == USUAL


def test_only_the_threads_beside_the_loop_can_have_it() -> None:
    assert run_to_end(policies(), on_thread_start=yield_processor) == (USUAL, os.SCHED_IDLE)


def test_an_error_of_work_behind_is_raised() -> None:
    async def fails() -> None:
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        run_behind(fails())


def test_an_interrupt_cancels_work_behind() -> None:
    ends: list[str] = []

    async def interrupted() -> None:
        _thread.interrupt_main()
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("cancelled")

    with pytest.raises(KeyboardInterrupt):
        run_behind(interrupted())
    assert ends == ["cancelled"]


def test_the_process_of_an_archive_yields_the_processor_before_it_imports_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    monkeypatch.setattr(cli, "yield_processor", lambda: called.append("yields"))
    monkeypatch.setattr(parser, "main", lambda words: called.append(words[0]) or 0)
    for command in ("archive-audit", "drop-archived"):
        monkeypatch.setattr("sys.argv", ["vsql-vault", command])
        assert cli.main() == 0
    assert called == ["yields", "archive-audit", "drop-archived"]


def test_where_the_system_refuses_the_priority_the_work_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    assert run_behind(policies()) == (USUAL, USUAL)
