"""Calls plugins and contains their failures.

Every call of a plugin's object goes through this module. Whatever the plugin raises, SystemExit, KeyboardInterrupt,
CancelledError and GeneratorExit included, becomes PluginFailed. An answer after its deadline is not an answer, even where
the plugin blocked the event loop until then.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import field
from typing import Any, TypeVar, final

from vsqlvault.errors import PluginFailed, VaultError
from vsqlvault.quick_dataclass import dataclass

log = logging.getLogger(__name__)
YIELD_AFTER_SECONDS = 0.002
Answer = TypeVar("Answer")
_running: set[asyncio.Task[Any]] = set()


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


@final
@dataclass(frozen=True, slots=True)
class Pending:
    """What a plugin returned that is not an answer yet: an awaitable, or a value of a wrong type.

    ``started_at`` is when the call began, by the monotonic clock. Test for it by ``type``: the object that a plugin
    returned may claim any class.
    """

    given: object
    started_at: float


Passing = tuple[type[VaultError], ...]
"""Errors that are an answer of the plugin, and are raised unchanged."""


async def call_plugin(
    plugin: object,
    call: Callable[[], object],
    expected: type | tuple[type, ...],
    timeout_seconds: float,
    *,
    passes: Passing = (),
) -> Any:
    """Return the answer of ``call()``, awaited where it is awaitable.

    An awaitable runs in a task of its own. A task that ignores its cancellation is abandoned.

    Raises:
        PluginFailed: it raised an error that does not pass, was late, or answered with another type. The log names the
            plugin and the type of the error, never its text.
    """
    given = begin_call(plugin, call, expected, timeout_seconds, passes=passes)
    if type(given) is Pending:
        return await finish_call(plugin, given, expected, timeout_seconds, passes=passes)
    return given


def begin_call(
    plugin: object,
    call: Callable[..., object],
    expected: type | tuple[type, ...],
    timeout_seconds: float,
    *arguments: object,
    passes: Passing = (),
) -> Any:
    """Return the answer of a plugin that answers ``call(*arguments)`` at once, or a Pending for ``finish_call``.

    It saves the coroutine of ``call_plugin`` on each request. Raises as ``call_plugin``.
    """
    started_at = time.monotonic()
    try:
        given = call(*arguments)
        is_answer = expected is not object and isinstance(given, expected)
    except BaseException as error:
        if isinstance(error, passes):
            raise
        raise _failed(plugin, error) from error
    if not is_answer:
        return Pending(given, started_at)
    if time.monotonic() - started_at > timeout_seconds:
        raise _late(plugin)
    return given


async def finish_call(
    plugin: object,
    pending: Pending,
    expected: type | tuple[type, ...],
    timeout_seconds: float,
    *,
    passes: Passing = (),
) -> Any:
    """Return the answer of a call that was begun. Raises as ``call_plugin``."""
    outcome = pending.given
    if _is(inspect.isawaitable, outcome):
        outcome = await _within(pending, timeout_seconds)
    if type(outcome) is _Raised:
        if isinstance(outcome.error, passes):
            raise outcome.error from None
        raise _failed(plugin, outcome.error) from outcome.error
    if time.monotonic() - pending.started_at > timeout_seconds:
        raise _late(plugin)
    if _is(lambda answer: isinstance(answer, expected), outcome):
        return outcome
    log.error("plugin returned an unusable result", extra={"plugin": name_of(plugin), "error": type(outcome).__name__})
    raise PluginFailed


async def call_plugin_in_turn(
    plugin: object, calls: Sequence[Callable[[], object]], expected: type, timeout_seconds: float
) -> list[Any]:
    """Return the answer of each of ``calls``, made one after the other; PluginFailed in place of one that failed.

    One task makes all calls, until one is late: the rest run in another task. Each has ``timeout_seconds``. The log has one
    line per type of error, with the number of failures.
    """
    answers: list[Any] = []
    failures: dict[str, int] = {}
    while len(answers) < len(calls):
        for outcome in await _take_turns(calls[len(answers) :], timeout_seconds):
            if _is(lambda answer: isinstance(answer, expected), outcome):
                answers.append(outcome)
                continue
            cause = outcome.error if type(outcome) is _Raised else None
            kind = type(cause or outcome).__name__
            failures[kind] = failures.get(kind, 0) + 1
            failed = PluginFailed()
            failed.__cause__ = cause
            answers.append(failed)
    for kind, count in failures.items():
        log.error("plugin failed", extra={"plugin": name_of(plugin), "error": kind, "count": count})
    return answers


async def call_in_place(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Await ``call()`` in the task of the caller, who has a time limit and logs. VaultError and cancellation pass.

    Raises:
        PluginFailed: it raised another error, which is the cause.
    """
    task = asyncio.current_task()
    try:
        return await call()
    except VaultError:
        raise
    except (asyncio.CancelledError, GeneratorExit) as error:
        is_from_outside = task is None or task.cancelling() or asyncio.current_task() is not task
        if is_from_outside:  # of the task's cancellation, or of the end of its coroutine
            raise
        raise PluginFailed from error
    except BaseException as error:
        raise PluginFailed from error


def call_plain(plugin: object, call: Callable[[], Answer], *, passes: Passing = ()) -> Answer:
    """Return the answer of a plain method, which nothing can interrupt.

    Raises:
        PluginFailed: it raised an error that does not pass.
    """
    try:
        return call()
    except BaseException as error:
        if isinstance(error, passes):
            raise
        raise _failed(plugin, error) from error


def name_of(plugin: object) -> str:
    """Return the name of a plugin's object for the log; a string is a name already."""
    if type(plugin) is str:
        return plugin
    try:
        return str(getattr(plugin, "name", type(plugin).__name__))
    except BaseException:  # noqa: BLE001 - a property of the plugin
        return type(plugin).__name__


def _failed(plugin: object, cause: BaseException) -> PluginFailed:
    log.error("plugin failed", extra={"plugin": name_of(plugin), "error": type(cause).__name__})
    return PluginFailed()


def _late(plugin: object) -> PluginFailed:
    late = TimeoutError()
    failed = _failed(plugin, late)
    failed.__cause__ = late
    return failed


def _is(test: Callable[[object], bool], given: object) -> bool:
    """Whether an object passes a test that may run the plugin's code, such as its ``__class__``."""
    try:
        return test(given)
    except BaseException:  # noqa: BLE001
        return False


async def _within(pending: Pending, timeout_seconds: float) -> Any:
    """Return the answer of an awaitable, or what it raised; TimeoutError where it is late."""
    task = _started(_contained(pending.given))  # type: ignore[arg-type]
    if task.done():
        return task.result()
    _running.add(task)
    task.add_done_callback(_running.discard)
    left = pending.started_at + timeout_seconds - time.monotonic()
    try:
        done, _ = await asyncio.wait({task}, timeout=max(left, 0))
    finally:
        if not task.done():
            task.cancel()
    return task.result() if done else _Raised(TimeoutError())


@dataclass(slots=True)
class _Turns:
    """The outcomes of one task, call by call, and when the current call began."""

    since: float
    timeout_seconds: float
    outcomes: list[Any] = field(default_factory=list)
    is_over: bool = False

    async def take(self, calls: Sequence[Callable[[], object]]) -> None:
        yielded_at = self.since
        for call in calls:
            self.since = time.monotonic()
            if self.since - yielded_at > YIELD_AFTER_SECONDS:
                await asyncio.sleep(0)
                yielded_at = self.since = time.monotonic()
            outcome = await _contained(_called(call))
            if self.is_over:  # the caller has recorded this call as late
                return
            is_late = time.monotonic() - self.since > self.timeout_seconds
            self.outcomes.append(_Raised(TimeoutError()) if is_late else outcome)


async def _take_turns(calls: Sequence[Callable[[], object]], timeout_seconds: float) -> list[Any]:
    """Return the results of the first calls: of all, or up to one that was late."""
    turns = _Turns(time.monotonic(), timeout_seconds)
    task = _started(turns.take(calls))
    _running.add(task)
    task.add_done_callback(_running.discard)
    try:
        while not task.done() and (left := turns.since + timeout_seconds - time.monotonic()) > 0:
            await asyncio.wait({task}, timeout=left)
    finally:
        turns.is_over = True
        if not task.done():
            task.cancel()
    if len(turns.outcomes) < len(calls):
        turns.outcomes.append(_Raised(TimeoutError()))
    return turns.outcomes


async def _called(call: Callable[[], object]) -> object:
    given = call()
    return await given if inspect.isawaitable(given) else given


def _started(work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
    """Return a task that has run to its first suspension, where this Python has eager tasks."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)


async def _contained(awaitable: Awaitable[Answer]) -> Answer | _Raised:
    """Await, and return what is raised as a value: SystemExit in a task would end the event loop."""
    try:
        return await awaitable
    except BaseException as error:  # noqa: BLE001
        return _Raised(error)
