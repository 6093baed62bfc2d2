"""What a caller asks of the present version of a rule before it is changed."""

from __future__ import annotations

from dataclasses import dataclass

from vsqlvault.errors import PreconditionFailed


@dataclass(frozen=True, slots=True)
class VersionPreconditions:
    """What ``If-Match`` and ``If-None-Match: *`` ask. An empty ``match`` fits nothing; ``any_match`` is ``If-Match: *``."""

    none_exists: bool = False
    any_match: bool = False
    match: frozenset[int] | None = None

    def check(self, present: int | None) -> None:
        """Raise PreconditionFailed unless the version in force (None: none is) is as asked."""
        if self.none_exists and present is not None:
            raise PreconditionFailed("it exists")
        if self.any_match and present is None:
            raise PreconditionFailed("it does not exist")
        if self.match is not None and (present is None or present not in self.match):
            raise PreconditionFailed("it has changed, or does not exist")


ANY_STATE = VersionPreconditions()
"""Nothing is asked."""
