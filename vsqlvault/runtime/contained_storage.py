"""Contains the failures of a storage, which is a plugin: what its methods raise, return, and how long they take."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from vsqlvault.errors import OutcomeUnknown, PluginFailed, StorageUnavailable, VaultError
from vsqlvault.interfaces.storage import Storage
from vsqlvault.service.plugin_calls import call_in_place, call_plain, call_plugin

log = logging.getLogger(__name__)
BATCHES = frozenset({"read", "commit", "commit_seen"})
"""These run on the way of every request, in the task of the commit queue, which has their time limit."""

PROMPT = frozenset({"policy_snapshot"})
"""Requests wait for these too. They have the time limit of a batch."""

UNLIMITED = frozenset({"migrate", "scrub", "reclaim"})
"""These rewrite the database, and may take hours. No request waits for them."""

PLUGIN = "storage"


class ContainedStorage:
    """Has every method of the protocol ``Storage``, and calls ``inner``.

    Whatever a method raises that is no error of the vault, SystemExit, KeyboardInterrupt, CancelledError and GeneratorExit
    included, becomes StorageUnavailable. So does a late answer, and one of another type than the protocol's, but for
    ``commit`` and ``commit_seen``: what was committed is unknown then, and the error is OutcomeUnknown.
    """

    def __init__(self, inner: Storage, batch_seconds: float, slow_seconds: float) -> None:
        """``batch_seconds``: the time limit of a batch of reads or commits. ``slow_seconds``: that of other calls."""
        self.flights = inner.flights
        self._inner = inner
        for name, method in _methods().items():
            seconds = batch_seconds if name in PROMPT else math.inf if name in UNLIMITED else slow_seconds
            setattr(self, name, _contained(name, getattr(inner, name), method, seconds))

    @property
    def incarnation(self) -> str:
        """See ``Storage.incarnation``."""
        try:  # without a call: it is read twice on the way of every request
            found: object = self._inner.incarnation
            if isinstance(found, str):
                return found
        except VaultError:
            raise
        except BaseException as error:
            log.error("plugin failed", extra={"plugin": PLUGIN, "error": type(error).__name__})  # noqa: TRY400
            raise StorageUnavailable from error
        raise StorageUnavailable


def contained(storage: Storage, batch_seconds: float, slow_seconds: float) -> Storage:
    """Return the storage as a ``ContainedStorage``."""
    return cast("Storage", ContainedStorage(storage, batch_seconds, slow_seconds))


def _methods() -> dict[str, Callable[..., Any]]:
    found = inspect.getmembers(Storage, inspect.isfunction)
    return {name: method for name, method in found if not name.startswith("_")}


def _contained(name: str, call: Callable[..., Any], method: Callable[..., Any], seconds: float) -> Any:
    """Return what replaces the method ``call`` of a storage."""
    is_answer = _check_of(get_type_hints(method)["return"])
    unusable = OutcomeUnknown if name in {"commit", "commit_seen"} else StorageUnavailable
    if not inspect.iscoroutinefunction(method):
        return partial(_call_plain, call, is_answer)
    if name in BATCHES:
        return partial(_call_batch, call, is_answer, unusable)
    return partial(_call, call, is_answer, seconds)


def _call_plain(call: Callable[..., Any], is_answer: Callable[[object], bool], *arguments: Any, **named: Any) -> Any:
    answer = _plainly(lambda: call(*arguments, **named))
    if not is_answer(answer):
        raise StorageUnavailable
    return answer


async def _call_batch(
    call: Callable[..., Any],
    is_answer: Callable[[object], bool],
    unusable: type[VaultError],
    *arguments: Any,
    **named: Any,
) -> Any:
    """Call a method in the task of the caller, who has a time limit: a task of its own would cost each request."""
    try:
        answer = await call_in_place(partial(call, *arguments, **named))
    except PluginFailed as failed:
        raise StorageUnavailable from failed.__cause__
    if not is_answer(answer):
        raise unusable
    return answer


async def _call(
    call: Callable[..., Any],
    is_answer: Callable[[object], bool],
    seconds: float,
    *arguments: Any,
    **named: Any,
) -> Any:
    try:
        answer = await call_plugin(PLUGIN, lambda: call(*arguments, **named), object, seconds, passes=(VaultError,))
    except PluginFailed as failed:
        raise StorageUnavailable from failed.__cause__
    if not is_answer(answer):
        raise StorageUnavailable
    return answer


def _plainly(call: Callable[[], Any]) -> Any:
    try:
        return call_plain(PLUGIN, call, passes=(VaultError,))
    except PluginFailed as failed:
        raise StorageUnavailable from failed.__cause__


def _check_of(annotation: Any) -> Callable[[object], bool]:
    """Return a test whether an answer has the type of the annotation, and its items that of the items of a sequence."""
    expected = _classes_of(annotation)
    items = get_args(annotation)
    if get_origin(annotation) is not Sequence or not items:
        return lambda answer: isinstance(answer, expected)
    of_items = _classes_of(items[0])

    def is_sequence(answer: object) -> bool:
        if type(answer) is not list and not isinstance(answer, Sequence):
            return False
        for item in answer:  # noqa: SIM110 - a generator costs every batch a call for each item
            if not isinstance(item, of_items):
                return False
        return True

    return is_sequence


def _classes_of(annotation: Any) -> tuple[type, ...]:
    if annotation is None:
        return (NoneType,)
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return tuple(each for part in get_args(annotation) for each in _classes_of(part))
    found = origin or annotation
    return (found,) if isinstance(found, type) else (object,)
