"""A storage that fails on command, for seeing what its users make of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from enum import StrEnum
from typing import Any

from vsqlvault.errors import OutcomeUnknown, StorageUnavailable, VaultError
from vsqlvault.interfaces.storage import Storage


class Fault(StrEnum):
    """When the chosen call fails: before anything happened, or after all of it did, so that nobody can say."""

    BEFORE = "before"
    AFTER = "after"


class FaultyStorage:
    """Passes everything on to a storage, but for the calls it was told to fail.

    ``calls`` lists the methods called since ``arm``. ``migrate``, ``describe`` and ``close`` always pass.
    """

    _PASS = frozenset({"migrate", "describe", "close"})

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.flights = inner.flights
        self.calls: list[str] = []
        self._failing: Collection[int] = ()
        self._methods: Collection[str] | None = None
        self._fault = Fault.BEFORE

    def arm(
        self, *numbers: int, methods: Collection[str] | None = None, fault: Fault = Fault.BEFORE, always: bool = False
    ) -> None:
        """Fail the calls of these numbers, counted from now and from 1, or all; of ``methods`` only, where given."""
        self.calls = []
        self._failing = range(1, 1_000_000) if always else numbers
        self._methods = methods
        self._fault = fault

    def disarm(self) -> None:
        """Let everything pass."""
        self.arm()

    def __getattr__(self, name: str) -> Any:
        """Return the inner storage's method, wrapped."""
        if name in self._PASS or name.startswith("_"):
            return getattr(self.inner, name)
        return self._wrapped(name)

    def _wrapped(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            method = getattr(self.inner, name)
            if self._methods is not None and name not in self._methods:
                return await method(*arguments)
            self.calls.append(name)
            if len(self.calls) not in self._failing:
                return await method(*arguments)
            if self._fault is Fault.AFTER:
                await method(*arguments)
            raise self._error(name)

        return call

    def _error(self, name: str) -> VaultError:
        return OutcomeUnknown() if self._fault is Fault.AFTER and name == "commit" else StorageUnavailable()
