"""The roles that own the schema and serve requests."""

from __future__ import annotations

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The owner of the schema and the role that serves, if they are separate; None: the role that connects."""

    owner: str | None = None
    runtime: str | None = None
