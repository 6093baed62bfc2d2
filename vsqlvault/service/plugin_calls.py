"""Calling what a plugin offered, and surviving it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

from vsqlvault.errors import PluginFailed, VaultError

log = logging.getLogger(__name__)
_BREATH_SECONDS = 0.002
Answer = TypeVar("Answer")
_running: set[asyncio.Task[Any]] = set()


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


@final
@dataclass(frozen=True, slots=True)
class Pending:
    """What a plugin returned that is no answer: to be awaited, or to be refused.

    Ask for it by ``type``: what else a plugin returned may say of itself what it likes.
    """

    given: object


Passing = tuple[type[VaultError], ...]
"""Kinds of errors that are a plugin's answer, too, and are raised as they are."""


async def call_plugin(
    plugin: object,
    call: Callable[[], object],
    expected: type | tuple[type, ...],
    timeout_seconds: float,
    *,
    passes: Passing = (),
) -> Any:
    """Return what ``call()`` returns or, where that is awaitable, what it comes to in time.

    An awaitable runs in a task of its own, which is left behind when it does not heed its cancellation.

    Raises:
        PluginFailed: it raised anything that does not pass (``sys.exit`` and a cancellation of its own included), was late,
            or answered with another type. The log names the plugin and the kind of error, never its text.
    """
    given = begin_call(plugin, call, expected, passes=passes)
    if type(given) is Pending:
        return await finish_call(plugin, given, expected, timeout_seconds, passes=passes)
    return given


def begin_call(
    plugin: object, call: Callable[[], object], expected: type | tuple[type, ...], *, passes: Passing = ()
) -> Any:
    """Return the answer of a plugin that need not wait, and of another one what ``finish_call`` takes.

    For who calls a plugin on each request: a coroutine for it costs more than most plugins do. Raises as ``call_plugin``.
    """
    try:
        given = call()
        return given if expected is not object and isinstance(given, expected) else Pending(given)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, passes):
            raise
        raise _failed(plugin, error) from error


async def finish_call(
    plugin: object,
    pending: Pending,
    expected: type | tuple[type, ...],
    timeout_seconds: float,
    *,
    passes: Passing = (),
) -> Any:
    """Return what a call that was begun comes to. Raises as ``call_plugin``."""
    try:  # even to ask what an answer is may run the plugin's code
        answer = pending.given
        if inspect.isawaitable(answer):
            answer = await _within(answer, timeout_seconds)
        if isinstance(answer, expected):
            return answer
    except (KeyboardInterrupt, asyncio.CancelledError):  # ours: what a plugin raises in its task comes wrapped
        raise
    except BaseException as error:  # noqa: BLE001
        cause = error.__cause__ if isinstance(error, _FailedInTask) and error.__cause__ else error
        if isinstance(cause, passes):
            raise cause from None
        raise _failed(plugin, cause) from cause
    log.error("plugin gave an unusable answer", extra={"plugin": _name(plugin), "error": type(answer).__name__})
    raise PluginFailed


async def call_plugin_in_turn(
    plugin: object, calls: Sequence[Callable[[], object]], expected: type, timeout_seconds: float
) -> list[Any]:
    """Return what each of ``calls`` comes to, made one after the other; in the place of one that failed, PluginFailed.

    As ``call_plugin``, but with one task for all of them, until one is late: the rest then go on in another. Each has
    ``timeout_seconds``. The log names each kind of error once, with how many there were.
    """
    answers: list[Any] = []
    failures: dict[str, int] = {}
    while len(answers) < len(calls):
        for outcome in await _take_turns(calls[len(answers) :], timeout_seconds):
            if isinstance(outcome, expected):
                answers.append(outcome)
                continue
            cause = outcome.error if isinstance(outcome, _Raised) else None
            kind = type(cause or outcome).__name__
            failures[kind] = failures.get(kind, 0) + 1
            failed = PluginFailed()
            failed.__cause__ = cause
            answers.append(failed)
    name = getattr(plugin, "name", type(plugin).__name__)
    for kind, count in failures.items():
        log.error("plugin failed", extra={"plugin": name, "error": kind, "count": count})
    return answers


def check_with_plugin(plugin: object, check: Callable[[], object]) -> None:
    """Let a plugin look at something: only a VaultError of its own passes through.

    Raises:
        PluginFailed: it raised anything else.
    """
    try:
        check()
    except (VaultError, KeyboardInterrupt):
        raise
    except BaseException as error:
        name = getattr(plugin, "name", type(plugin).__name__)
        log.error("plugin failed", extra={"plugin": name, "error": type(error).__name__})  # noqa: TRY400
        raise PluginFailed from error


def _name(plugin: object) -> str:
    return str(getattr(plugin, "name", type(plugin).__name__))


def _failed(plugin: object, cause: BaseException) -> PluginFailed:
    log.error("plugin failed", extra={"plugin": _name(plugin), "error": type(cause).__name__})
    return PluginFailed()


class _FailedInTask(Exception):
    """A plugin's task raised its cause."""


async def _within(awaitable: Awaitable[Answer], timeout_seconds: float) -> Answer:
    task = _started(_contained(awaitable))
    if task.done():
        return _opened(task.result())
    _running.add(task)
    task.add_done_callback(_running.discard)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_seconds)
    finally:
        if not task.done():
            task.cancel()
    if not done:
        raise TimeoutError
    return _opened(task.result())


@dataclass(slots=True)
class _Turns:
    """What one task has come to, call by call, and since when it has been at the next one."""

    since: float
    outcomes: list[Any] = field(default_factory=list)
    is_over: bool = False

    async def take(self, calls: Sequence[Callable[[], object]]) -> None:
        clock = asyncio.get_running_loop().time
        breath = self.since
        for call in calls:
            self.since = clock()
            if self.since - breath > _BREATH_SECONDS:
                await asyncio.sleep(0)
                breath = self.since = clock()
            outcome = await _contained(_called(call))
            if self.is_over:  # its answer was given for it
                return
            self.outcomes.append(outcome)


async def _take_turns(calls: Sequence[Callable[[], object]], timeout_seconds: float) -> list[Any]:
    """Return the outcomes of the first calls: of all of them, or up to one that was late."""
    loop = asyncio.get_running_loop()
    turns = _Turns(loop.time())
    task = _started(turns.take(calls))
    _running.add(task)
    task.add_done_callback(_running.discard)
    try:
        while not task.done() and (left := turns.since + timeout_seconds - loop.time()) > 0:
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
    """Return a task that has run already as far as it could without waiting, where this Python has such tasks."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)


def _opened(outcome: Answer | _Raised) -> Answer:
    if isinstance(outcome, _Raised):
        raise _FailedInTask from outcome.error
    return outcome


async def _contained(awaitable: Awaitable[Answer]) -> Answer | _Raised:
    """Await, and give back whatever is raised as a value: SystemExit in a task would end the event loop."""
    try:
        return await awaitable
    except BaseException as error:  # noqa: BLE001
        return _Raised(error)
