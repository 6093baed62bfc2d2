"""Preconditions of a read of or a change to a policy or hold."""

from __future__ import annotations

from vsqlvault.errors import PreconditionFailed
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class VersionPreconditions:
    """What ``If-Match`` and ``If-None-Match`` ask. An empty ``match`` fits nothing.

    ``any_match`` is ``If-Match: *``, ``none_exists`` is ``If-None-Match: *``.
    """

    none_exists: bool = False
    any_match: bool = False
    match: frozenset[int] | None = None
    none_match: frozenset[int] | None = None

    def check(self, present: int | None) -> None:
        """Raise PreconditionFailed unless the version in force (None: there is none) satisfies them."""
        if self.none_exists and present is not None:
            raise PreconditionFailed("it exists")
        if self.any_match and present is None:
            raise PreconditionFailed("it does not exist")
        if self.match is not None and (present is None or present not in self.match):
            raise PreconditionFailed("it has changed, or does not exist")
        if self.none_match is not None and present in self.none_match:
            raise PreconditionFailed("it has not changed")

    def is_unmodified(self, present: int) -> bool:
        """Whether ``If-None-Match`` names the version that is read, so that the reader has it (RFC 9110, 13.1.2)."""
        return self.none_exists or (self.none_match is not None and present in self.none_match)

    def check_read(self, present: int) -> None:
        """Raise PreconditionFailed unless ``If-Match`` holds for the version that is read."""
        if self.match is not None and present not in self.match:
            raise PreconditionFailed("it has changed")


ANY_STATE = VersionPreconditions()
"""No precondition."""
