"""Whatever a method of a storage raises or returns is an error of the vault, or an answer of the right type."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.rogue import RAISED, STORAGE_METHODS
from vsqlvault.errors import OutcomeUnknown, StorageFull, StorageUnavailable
from vsqlvault.interfaces.storage import Storage
from vsqlvault.runtime.contained_storage import BATCHES, PROMPT, UNLIMITED, contained

FUNCTIONS = [name for name in STORAGE_METHODS if inspect.isfunction(getattr(Storage, name))]
TIMED = [
    name
    for name in FUNCTIONS
    if name not in BATCHES | UNLIMITED and inspect.iscoroutinefunction(getattr(Storage, name))
]
SOON = 0.02
LONG = 60.0


class AnyStorage:
    """A storage of which every method does the same."""

    flights = 1
    incarnation: Any = "one"

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act

    def __getattr__(self, name: str) -> Any:
        async def call(*_: Any, **__: Any) -> Any:
            given = self._act()
            return await given if inspect.isawaitable(given) else given

        return call if inspect.iscoroutinefunction(getattr(Storage, name)) else self._act


def call(act: Callable[[], Any], method: str, *, batch_seconds: float = LONG, slow_seconds: float = LONG) -> Any:
    """Return what the contained method returns."""

    async def run() -> Any:
        storage = contained(AnyStorage(act), batch_seconds, slow_seconds)  # type: ignore[arg-type]
        given = getattr(storage, method)()
        return await given if inspect.isawaitable(given) else given

    return asyncio.run(run())


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


def test_it_has_every_member_of_the_protocol() -> None:
    storage = contained(AnyStorage(lambda: None), LONG, LONG)  # type: ignore[arg-type]
    assert [name for name in STORAGE_METHODS if not hasattr(storage, name)] == []


def test_the_methods_with_a_limit_of_their_own_exist() -> None:
    assert set(FUNCTIONS) >= BATCHES | PROMPT | UNLIMITED


@pytest.mark.parametrize("how", RAISED)
@pytest.mark.parametrize("method", FUNCTIONS)
def test_what_no_storage_may_raise_is_storage_unavailable(method: str, how: str) -> None:
    with pytest.raises(StorageUnavailable):
        call(raising(RAISED[how]()), method)


@pytest.mark.parametrize("method", FUNCTIONS)
def test_an_error_of_the_vault_passes(method: str) -> None:
    with pytest.raises(StorageFull):
        call(raising(StorageFull()), method)


@pytest.mark.parametrize("method", FUNCTIONS)
def test_an_answer_of_a_wrong_type_is_an_error(method: str) -> None:
    with pytest.raises(OutcomeUnknown if method in {"commit", "commit_seen"} else StorageUnavailable):
        call(object, method)


@pytest.mark.parametrize("method", ["read", "entries"])
def test_an_item_of_a_wrong_type_is_an_error(method: str) -> None:
    with pytest.raises(StorageUnavailable):
        call(lambda: [object()], method)


def test_a_result_of_a_wrong_type_leaves_the_outcome_of_a_commit_unknown() -> None:
    with pytest.raises(OutcomeUnknown):
        call(lambda: [None], "commit")


@pytest.mark.parametrize("method", TIMED)
def test_a_late_answer_is_an_error(method: str) -> None:
    with pytest.raises(StorageUnavailable):
        call(lambda: asyncio.sleep(LONG), method, batch_seconds=SOON, slow_seconds=SOON)


def test_requests_wait_for_the_policies_no_longer_than_for_a_batch() -> None:
    with pytest.raises(StorageUnavailable):
        call(lambda: asyncio.sleep(LONG), "policy_snapshot", batch_seconds=SOON)


def test_one_that_swallows_its_cancellation_is_not_waited_for() -> None:
    async def swallow() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(SOON * 5)
            except asyncio.CancelledError:
                continue

    with pytest.raises(StorageUnavailable):
        call(swallow, "tree_size", slow_seconds=SOON)


@pytest.mark.parametrize("incarnation", [None, 7])
def test_an_incarnation_of_a_wrong_type_is_an_error(incarnation: Any) -> None:
    inner = AnyStorage(lambda: None)
    inner.incarnation = incarnation
    with pytest.raises(StorageUnavailable):
        _ = contained(inner, LONG, LONG).incarnation  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["read", "tree_size"])
def test_the_cancellation_of_the_caller_passes(method: str) -> None:
    async def run() -> None:
        storage = contained(AnyStorage(lambda: asyncio.sleep(LONG)), LONG, LONG)  # type: ignore[arg-type]
        caller = asyncio.ensure_future(getattr(storage, method)())
        await asyncio.sleep(0)
        caller.cancel()
        await caller

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
