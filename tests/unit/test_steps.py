"""Coroutines that run without tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from vsqlvault.service.commit.batcher import Batcher
from vsqlvault.steps import TURN_SECONDS, Outcome, Steps, continue_soon

TURNS = 5


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def started(coroutine: Coroutine[Any, Any, None]) -> list[Steps]:
    """Run a coroutine in steps, and return the list that it is added to once it has ended."""
    ended: list[Steps] = []
    Steps(coroutine, ended.append).go_on()
    return ended


async def test_a_coroutine_continues_once_a_future_of_asyncio_is_done() -> None:
    seen: list[object] = []
    awaited: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def request() -> None:
        await asyncio.sleep(0)
        seen.append(await awaited)

    ended = started(request())
    await turns()
    assert not ended
    awaited.set_result("answer")
    await turns()
    assert seen == ["answer"]
    assert len(ended) == 1


async def test_the_error_of_an_outcome_is_raised_where_it_is_awaited() -> None:
    seen: list[object] = []
    outcome: Outcome[str] = Outcome()

    async def request() -> None:
        try:
            await outcome
        except ValueError as error:
            seen.append(error)

    started(request())
    error = ValueError()
    outcome.set_exception(error)
    assert outcome.waiting is not None
    continue_soon([outcome.waiting])
    await turns()
    assert seen == [error]


async def test_a_coroutine_continues_outside_of_the_task_of_the_batch_whose_result_it_awaits() -> None:
    """What it runs then may be a plugin's, which must not reach the task that answers other requests."""
    tasks: list[object] = []

    async def flush(items: Any) -> Any:
        await asyncio.sleep(0)
        return items

    batcher: Batcher[int, int] = Batcher(flush, max_in_flight=1, limit=8, max_waiting=8)

    async def request(number: int) -> None:
        await batcher.enqueue(number)
        tasks.append(asyncio.current_task())

    for number in range(3):
        started(request(number))
    await batcher.drain()
    await turns()
    assert tasks == [None, None, None]


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt()])
async def test_what_ends_a_process_in_one_coroutine_keeps_no_other_from_continuing(error: BaseException) -> None:
    outcomes: list[Outcome[int]] = [Outcome(), Outcome()]
    seen: list[int] = []
    raised: list[object] = []
    loop = asyncio.get_running_loop()

    async def request(number: int) -> None:
        await outcomes[number]
        if number == 0:
            raise error
        seen.append(number)

    ended = [started(request(number)) for number in range(2)]
    for outcome in outcomes:
        outcome.set_result(0)
    call_soon = loop.call_soon

    def contained(callback: Any, *arguments: Any, **named: Any) -> asyncio.Handle:
        def run() -> None:
            try:
                callback(*arguments)
            except (SystemExit, KeyboardInterrupt) as caught:
                raised.append(caught)

        return call_soon(run, **named)

    loop.call_soon = contained  # type: ignore[method-assign, assignment]
    continue_soon([outcome.waiting for outcome in outcomes if outcome.waiting is not None])
    await turns()
    assert raised == [error]
    assert seen == [1]
    assert [len(each) for each in ended] == [1, 1]


async def test_a_large_batch_lets_the_event_loop_handle_what_has_arrived() -> None:
    order: list[str] = []

    def work(name: str) -> None:
        order.append(name)
        time.sleep(2 * TURN_SECONDS)

    continue_soon([lambda: work("first"), lambda: work("second")])
    await asyncio.sleep(0)
    order.append("another request")
    await turns()
    assert order == ["first", "another request", "second"]
