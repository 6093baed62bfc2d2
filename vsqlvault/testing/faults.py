"""A storage that fails on demand, for testing its users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from enum import StrEnum
from typing import Any

from vsqlvault.errors import OutcomeUnknown, StorageUnavailable, VaultError
from vsqlvault.interfaces.storage import Storage

_NAMES = {"commit_seen": {"commit", "commit_seen"}}
"""A commit of either kind is meant by ``commit``."""


class Fault(StrEnum):
    """When the chosen call fails: before it had any effect, or after its whole effect, so that the result is unknown."""

    BEFORE = "before"
    AFTER = "after"


class FaultyStorage:
    """Forwards calls to a storage, except those that are configured to fail.

    ``calls`` lists the methods called since ``arm``. ``migrate``, ``describe`` and ``close`` are always forwarded.
    """

    _PASS = frozenset({"migrate", "describe", "close"})

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.flights = inner.flights
        self.calls: list[str] = []
        self._failing: Collection[int] = ()
        self._methods: set[str] | None = None
        self._fault = Fault.BEFORE
        self._chosen_error: type[VaultError] | None = None

    def arm(
        self,
        *numbers: int,
        methods: Collection[str] | None = None,
        fault: Fault = Fault.BEFORE,
        always: bool = False,
        error: type[VaultError] | None = None,
    ) -> None:
        """Fail the calls with these numbers, counted from now and from 1, or all; if ``methods`` is given, only of
        these. ``commit`` stands for ``commit_seen``, too.

        They raise ``error``, or by default the error of a storage: OutcomeUnknown if a commit has happened, and
        StorageUnavailable otherwise. Only ``commit`` and ``commit_seen`` may raise OutcomeUnknown, so other methods raise
        StorageUnavailable instead.
        """
        self.calls = []
        self._failing = range(1, 1_000_000) if always else numbers
        self._methods = None if methods is None else set(methods)
        self._fault = fault
        self._chosen_error = error

    @property
    def incarnation(self) -> str:
        """The value of the inner storage."""
        return self.inner.incarnation

    @property
    def struck(self) -> bool:
        """Whether a call has failed since ``arm``."""
        return any(number in self._failing for number in range(1, len(self.calls) + 1))

    def disarm(self) -> None:
        """Forward all calls again."""
        self.arm()

    def __getattr__(self, name: str) -> Any:
        """Return the inner storage's method, wrapped."""
        if name in self._PASS or name.startswith("_"):
            return getattr(self.inner, name)
        return self._wrapped(name)

    def _wrapped(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            method = getattr(self.inner, name)
            if self._methods is not None and not self._methods & _NAMES.get(name, {name}):
                return await method(*arguments)
            self.calls.append(name)
            if len(self.calls) not in self._failing:
                return await method(*arguments)
            if self._fault is Fault.AFTER:
                await method(*arguments)
            raise self._error(name)

        return call

    def _error(self, name: str) -> VaultError:
        error = self._chosen_error or (OutcomeUnknown if self._fault is Fault.AFTER else StorageUnavailable)
        return StorageUnavailable() if error is OutcomeUnknown and name not in {"commit", "commit_seen"} else error()
