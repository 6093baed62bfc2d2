"""Doing things at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def together(*actions: Callable[[], Result]) -> list[Result]:
    """Run the actions in threads that start at once, and return what each gave, in order."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], Result]) -> Result:
        barrier.wait(10)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def in_parallel(actions: Sequence[Callable[[], Result]], threads: int = 16) -> list[Result]:
    """Run many actions, some at a time, and return what each gave, in order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda action: action(), actions))
