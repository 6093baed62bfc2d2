"""Deciding whether a principal may do what it asks."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Protocol

from vsqlvault.model.access import AccessRequest, Decision
from vsqlvault.model.policy import AccessPolicy


class PolicyEvaluator(Protocol):
    """Answers for the policies whose document names it in ``evaluator``."""

    name: str
    """Unique among the plugins loaded."""

    def built_in_policies(self) -> Iterable[AccessPolicy]:
        """Return policies that exist without being stored, are called by their own names, and cannot be changed."""
        ...

    def check(self, policy: AccessPolicy) -> None:
        """Look at a document before it is stored.

        Raises:
            ValidationFailed: with the fields that are not as this evaluator needs them.
        """
        ...

    def evaluate(self, request: AccessRequest, policy: AccessPolicy) -> Decision | Awaitable[Decision]:
        """Return Allow or Deny; a plain ``def`` where that needs no waiting (it must not block), else ``async def``.

        It may be asked again for one operation, when the entry or the policies turn out to be others than it was asked
        about, so it must not count or consume anything. It has two seconds. An exception, a timeout or any other value
        denies the request (503 ``plugin-failure``).
        """
        ...
