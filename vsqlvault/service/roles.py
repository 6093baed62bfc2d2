"""Requires a role of the caller, for operations that no access policy governs."""

from __future__ import annotations

from vsqlvault.errors import RoleRequired
from vsqlvault.model.principal import Call


def require_admin(call: Call) -> None:
    """Raise RoleRequired unless the caller is an admin."""
    if not call.principal.is_admin:
        raise RoleRequired("admin")


def require_reader(call: Call) -> None:
    """Raise RoleRequired unless the caller is an admin or an auditor."""
    if not call.principal.roles:
        raise RoleRequired("admin or auditor")
