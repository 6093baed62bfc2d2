"""Threads of the lowest priority: no other thread has it."""

from __future__ import annotations

import asyncio
import os

import pytest

from vsqlvault.runtime import run_to_end
from vsqlvault.sandbox.priority import yield_processor

USUAL = os.sched_getscheduler(0)


async def policies() -> tuple[int, int]:
    """Return the scheduling policy of this thread, and of one that it starts."""
    return os.sched_getscheduler(0), await asyncio.to_thread(os.sched_getscheduler, 0)


def test_only_the_threads_beside_the_loop_can_have_it() -> None:
    assert run_to_end(policies(), on_thread_start=yield_processor) == (USUAL, os.SCHED_IDLE)


def test_where_the_system_refuses_the_priority_the_work_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    assert run_to_end(policies(), on_thread_start=yield_processor) == (USUAL, USUAL)
