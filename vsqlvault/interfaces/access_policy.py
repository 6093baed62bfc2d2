"""The protocol of policy evaluators."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Protocol

from vsqlvault.model.access import AccessRequest, Decision
from vsqlvault.model.policy import AccessPolicy


class PolicyEvaluator(Protocol):
    """Decides requests under the policies that name it in ``evaluator``."""

    name: str
    """The name of the evaluator, unique among the loaded plugins."""

    def built_in_policies(self) -> Iterable[AccessPolicy]:
        """Return the built-in policies of this evaluator. They are not stored, and cannot be changed."""
        ...

    def check(self, policy: AccessPolicy) -> None:
        """Check a document before it is stored.

        Raises:
            ValidationFailed: with the invalid fields.
        """
        ...

    def evaluate(self, request: AccessRequest, policy: AccessPolicy) -> Decision | Awaitable[Decision]:
        """Return Allow or Deny. Use a plain ``def`` if it never waits (it must not block), else ``async def``.

        It may be called again for one operation if the entry or the policies have changed meanwhile, so it must not
        count or consume anything. It has two seconds. An exception, a timeout or any other value denies the request
        (503 ``plugin-failure``).
        """
        ...
