"""Who is calling, as their credential says, and what came with the call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Role(StrEnum):
    """What a principal may do beside storing and retrieving."""

    ADMIN = "admin"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Principal:
    """An app, known by a credential and by nothing else.

    ``purposes`` is None for an app that holds every purpose. ``identity`` is the workload or person behind the app.
    ``credential_id`` names the credential without revealing it.
    """

    app: str
    method: str
    credential_id: str
    identity: str | None = None
    purposes: frozenset[str] | None = None
    roles: frozenset[Role] = frozenset()

    def narrowed(self, other: Principal) -> Principal:
        """Return this principal with what ``other``, another credential of the same app, grants as well, and no more."""
        if self.purposes is None or other.purposes is None:
            purposes = other.purposes if self.purposes is None else self.purposes
        else:
            purposes = self.purposes & other.purposes
        return replace(
            self, identity=self.identity or other.identity, purposes=purposes, roles=self.roles & other.roles
        )

    def holds(self, purpose: str) -> bool:
        """Whether this principal was granted ``purpose``."""
        return self.purposes is None or purpose in self.purposes

    @property
    def is_admin(self) -> bool:
        """Whether this principal may change policies, sweep and purge; it says nothing about reading data."""
        return Role.ADMIN in self.roles

    @property
    def may_inspect_all(self) -> bool:
        """Whether this principal may always see metadata: admins and auditors."""
        return bool(self.roles)


SYSTEM = Principal(app="vsqlvault", method="system", credential_id="system", roles=frozenset({Role.ADMIN}))
"""The vault itself, when it sweeps on its timer. No credential maps to this method."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the audit log will remember it: who, under which id, from where (an address, no port)."""

    principal: Principal
    request_id: str
    client_address: str | None = None
    untrusted_forwarding: bool = field(default=False, kw_only=True)
