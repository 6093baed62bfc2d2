"""Who can reach the tables of the vault without the vault, as far as the storage knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseRole:
    """A role of the database, with the number of the vault's tables that it may read, and that it may write.

    ``is_own``: the vault connects as this role, or the role owns the tables. ``through`` names the roles from which it has
    that, other than itself.
    """

    name: str
    is_superuser: bool
    can_log_in: bool
    is_own: bool
    may_read: int
    may_write: int
    through: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAccess:
    """The roles that may read or write a table, and the number of all roles. ``file`` describes a file instead of roles."""

    roles: Sequence[DatabaseRole] = ()
    roles_examined: int = 0
    file: Mapping[str, Any] = field(default_factory=dict)
