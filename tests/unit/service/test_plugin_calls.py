"""Calling plugins: whatever they raise is PluginFailed, and an answer after the deadline is not an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from vsqlvault.errors import CredentialRefused, PluginFailed
from vsqlvault.service.plugin_calls import begin_call, call_in_place, call_plain, call_plugin, call_plugin_in_turn

RAISED = [
    Exception("secret words"),
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    GeneratorExit(),
    BaseException("secret words"),
]
DEADLINE_SECONDS = 0.05
LONGER_SECONDS = 0.08


def ids(error: BaseException) -> str:
    return type(error).__name__


def plainly(error: BaseException) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


def awaited(error: BaseException) -> Callable[[], Awaitable[object]]:
    async def call() -> object:
        await asyncio.sleep(0)
        raise error

    return call


async def blocks_then_answers() -> str:
    await asyncio.sleep(0)
    time.sleep(LONGER_SECONDS)  # noqa: ASYNC251
    return "yes"


def blocks_then_answers_at_once() -> str:
    time.sleep(LONGER_SECONDS)
    return "yes"


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await work()

    return asyncio.run(main())


@pytest.mark.parametrize("error", RAISED, ids=ids)
@pytest.mark.parametrize("how", [plainly, awaited])
def test_what_a_plugin_raises_is_plugin_failed(how: Any, error: BaseException) -> None:
    with pytest.raises(PluginFailed) as failed:
        run(lambda: call_plugin("badge", how(error), str, 2))
    assert failed.value.__cause__ is error


@pytest.mark.parametrize("error", RAISED, ids=ids)
@pytest.mark.parametrize("how", [plainly, awaited])
def test_in_turn_a_call_that_raises_fails_alone(how: Any, error: BaseException) -> None:
    answers = run(lambda: call_plugin_in_turn("badge", [lambda: "first", how(error), lambda: "last"], str, 2))
    assert answers[0] == "first"
    assert isinstance(answers[1], PluginFailed)
    assert answers[2] == "last"


@pytest.mark.parametrize("error", RAISED, ids=ids)
def test_what_a_plain_method_raises_is_plugin_failed(error: BaseException) -> None:
    with pytest.raises(PluginFailed):
        call_plain("badge", plainly(error))


@pytest.mark.parametrize("how", [plainly, awaited])
def test_an_error_that_passes_is_raised_unchanged(how: Any) -> None:
    refused = CredentialRefused("bad_badge")
    with pytest.raises(CredentialRefused) as raised:
        run(lambda: call_plugin("badge", how(refused), str, 2, passes=(CredentialRefused,)))
    assert raised.value is refused


@pytest.mark.parametrize("call", [blocks_then_answers, blocks_then_answers_at_once])
def test_an_answer_after_the_deadline_is_refused(call: Callable[[], object], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PluginFailed) as failed:
        run(lambda: call_plugin("slow", call, str, DEADLINE_SECONDS))
    assert isinstance(failed.value.__cause__, TimeoutError)
    assert [(record.plugin, record.error) for record in caplog.records] == [("slow", "TimeoutError")]  # type: ignore[attr-defined]


def test_begin_call_refuses_a_late_answer() -> None:
    with pytest.raises(PluginFailed):
        begin_call("slow", blocks_then_answers_at_once, str, DEADLINE_SECONDS)


@pytest.mark.parametrize("call", [blocks_then_answers, blocks_then_answers_at_once])
def test_in_turn_an_answer_after_the_deadline_is_refused(call: Callable[[], object]) -> None:
    answers = run(lambda: call_plugin_in_turn("slow", [call, lambda: "last"], str, DEADLINE_SECONDS))
    assert isinstance(answers[0], PluginFailed)
    assert answers[1] == "last"


def test_the_cancellation_of_the_caller_reaches_the_plugin() -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        async def waits() -> str:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            return ""

        caller = asyncio.create_task(call_plugin("slow", waits, str, 60))
        await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(0)
        return seen

    assert asyncio.run(main()) == ["cancelled"]


@pytest.mark.parametrize("answer", [None, 7, object()])
def test_an_answer_of_another_type_is_refused(answer: object) -> None:
    with pytest.raises(PluginFailed):
        run(lambda: call_plugin("badge", lambda: answer, str, 2))


async def test_a_cancellation_of_the_caller_is_no_failure_of_the_plugin() -> None:
    async def wait() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(call_in_place(wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_end_of_a_call_outside_of_a_task_is_no_failure_of_the_plugin() -> None:
    class Once:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def wait() -> None:
        await Once()

    def drive() -> None:
        call = call_in_place(wait)
        try:
            call.send(None)
            call.close()  # raises PluginFailed if the call turns its end into another error
            ended.set_result(None)
        except (PluginFailed, RuntimeError) as error:
            ended.set_exception(error)

    ended = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(drive)
    await ended
