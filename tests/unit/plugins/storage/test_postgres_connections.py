"""Connections are lent in the order in which they were asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vsqlvault.errors import StorageUnavailable
from vsqlvault_plugins.storage.postgres.connections import Connections


class Line:
    """As much of a connection as lending needs."""

    def is_closed(self) -> bool:
        return False

    def is_in_transaction(self) -> bool:
        return False

    def terminate(self) -> None: ...

    async def close(self, timeout: float) -> None: ...  # noqa: ASYNC109


async def connect() -> Any:
    await asyncio.sleep(0)
    return Line()


@pytest.mark.parametrize(("limit", "callers"), [(1, 2), (1, 5), (2, 3), (3, 9)])
async def test_a_returned_connection_goes_to_the_longest_waiting_caller(limit: int, callers: int) -> None:
    connections = Connections(connect, limit)
    order: list[int] = []

    async def borrow(who: int) -> None:
        for _ in range(20):
            async with connections.borrow(1):
                order.append(who)
                await asyncio.sleep(0)

    await asyncio.gather(*(borrow(who) for who in range(callers)))
    first_rounds = order[: callers * 10]
    counts = [first_rounds.count(who) for who in range(callers)]
    assert max(counts) - min(counts) <= 2, order


async def test_a_newcomer_takes_what_nobody_was_called_for() -> None:
    connections = Connections(connect, 2)
    async with connections.borrow(1), connections.borrow(1):
        waiting = asyncio.create_task(hold(connections))
        await asyncio.sleep(0.01)
    await asyncio.wait_for(hold(connections), 0.5)
    await asyncio.wait_for(waiting, 0.5)


async def test_one_who_is_called_and_gives_up_passes_the_call_on() -> None:
    connections = Connections(connect, 1)
    async with connections.borrow(1):
        leaving, staying = (asyncio.create_task(hold(connections)) for _ in range(2))
        await asyncio.sleep(0.01)
    leaving.cancel()  # it was called a moment ago
    await asyncio.wait_for(staying, 0.5)
    await asyncio.wait_for(hold(connections), 0.5)


async def hold(connections: Connections) -> None:
    async with connections.borrow(1):
        await asyncio.sleep(0)


class ClosableLine(Line):
    def __init__(self) -> None:
        self.is_open = True

    def is_closed(self) -> bool:
        return not self.is_open

    def terminate(self) -> None:
        self.is_open = False


async def test_after_a_fail_over_no_earlier_connection_is_lent() -> None:
    made: list[ClosableLine] = []

    async def connect_closable() -> Any:
        made.append(ClosableLine())
        return made[-1]

    connections = Connections(connect_closable, 2)
    async with connections.borrow(1):
        async with connections.borrow(1):
            pass
        connections.drop_all()
    assert [line.is_open for line in made] == [False, False]
    async with connections.borrow(1) as fresh:
        assert fresh is made[2]


async def test_a_connection_made_while_all_are_cut_off_is_made_again() -> None:
    made: list[ClosableLine] = []

    async def connect_closable() -> Any:
        made.append(ClosableLine())
        if len(made) == 1:
            connections.drop_all()
        return made[-1]

    connections = Connections(connect_closable, 1)
    async with connections.borrow(1) as lent:
        assert lent is made[1]
    assert [line.is_open for line in made] == [False, True]


async def test_a_late_statement_is_reported() -> None:
    told: list[str] = []
    connections = Connections(connect, 1, on_late=lambda: told.append("late"))
    with pytest.raises(TimeoutError):
        async with connections.borrow(0.01):
            await asyncio.sleep(5)
    assert told == ["late"]


async def test_a_late_function_is_reported_and_its_connection_closed() -> None:
    told: list[str] = []
    line = ClosableLine()

    async def connect_line() -> Any:
        return line

    connections = Connections(connect_line, 1, on_late=lambda: told.append("late"))
    with pytest.raises(TimeoutError):
        await connections.use(await connections.lend(), 0.01, sleep_on)
    assert (told, line.is_open, connections.in_use) == (["late"], False, 0)


async def test_a_function_that_answers_returns_its_connection() -> None:
    connections = Connections(connect, 1)

    async def answer(connection: Any, text: str) -> tuple[Any, str]:
        return connection, text

    lent, text = await connections.use(await connections.lend(), 1, answer, "x")
    assert text == "x"
    assert await connections.lend() is lent


async def test_a_cancelled_caller_is_not_late() -> None:
    told: list[str] = []
    connections = Connections(connect, 1, on_late=lambda: told.append("late"))
    waiting = asyncio.create_task(connections.use(await connections.lend(), 5, sleep_on))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert told == []


async def test_a_caller_that_is_cancelled_when_it_is_late_is_cancelled() -> None:
    async def cancel_in_time(_: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            task.cancel()
            raise

    connections = Connections(connect, 1)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(connections.use(await connections.lend(), 0.01, cancel_in_time))


async def test_a_caller_that_was_in_time_is_not_cancelled_later() -> None:
    connections = Connections(connect, 1)
    await connections.use(await connections.lend(), 0.01, return_at_once)
    async with connections.borrow(0.01):
        pass
    await asyncio.sleep(0.05)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def return_at_once(_: Any) -> None:
    pass


async def sleep_on(_: Any) -> None:
    await asyncio.sleep(5)


class TestSpare:
    """A spare connection is lent only if others do not need it."""

    async def test_a_second_connection_is_made_for_it(self) -> None:
        connections = Connections(connect, 3)
        async with connections.borrow(1), connections.borrow_spare(1) as spare:
            assert spare is not None
            assert connections.in_use == 2

    async def test_an_idle_connection_is_taken_first(self) -> None:
        connections = Connections(connect, 3)
        async with connections.borrow(1), connections.borrow(1) as kept:
            pass
        async with connections.borrow(1), connections.borrow_spare(1) as spare:
            assert spare is kept

    @pytest.mark.parametrize("limit", [1, 2])
    async def test_the_last_connection_is_left_for_others(self, limit: int) -> None:
        connections = Connections(connect, limit)
        async with connections.borrow(1), connections.borrow_spare(1) as spare:
            assert spare is None
            assert connections.in_use == 1

    async def test_it_is_not_lent_while_others_wait(self) -> None:
        connections = Connections(connect, 3)
        async with connections.borrow(1), connections.borrow(1):
            async with connections.borrow(1):
                waiting = asyncio.create_task(hold(connections))
                await asyncio.sleep(0.01)
            async with connections.borrow_spare(1) as spare:  # one is free, and the waiting caller was called for it
                assert spare is None
        await asyncio.wait_for(waiting, 0.5)

    async def test_a_full_server_lends_none(self) -> None:
        async def connect_once() -> Any:
            if connections.in_use > 1:
                raise StorageUnavailable("the server has no free connection")
            return Line()

        connections = Connections(connect_once, 3)
        async with connections.borrow(1), connections.borrow_spare(1) as spare:
            assert spare is None
        async with connections.borrow_spare(1) as spare:
            assert spare is not None
