"""The caller of a request, as its credential states, and the request's context."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field, replace
from enum import StrEnum

from vsqlvault.quick_dataclass import dataclass


class Role(StrEnum):
    """The roles of a principal, in addition to storing and retrieving."""

    ADMIN = "admin"
    AUDITOR = "auditor"


SYSTEM_METHOD = "system"


@dataclass(frozen=True, slots=True)
class Principal:
    """An app, as authenticated by a credential.

    ``purposes`` is None for an app with every purpose. ``identity`` is the workload or person behind the app.
    ``credential_id`` names the credential without revealing it.
    """

    app: str
    method: str
    credential_id: str
    identity: str | None = None
    purposes: frozenset[str] | None = None
    roles: frozenset[Role] = frozenset()

    def narrowed(self, other: Principal) -> Principal:
        """Return this principal with only what ``other``, another credential of the same app, also grants."""
        if self.purposes is None or other.purposes is None:
            purposes = other.purposes if self.purposes is None else self.purposes
        else:
            purposes = self.purposes & other.purposes
        return replace(
            self, identity=self.identity or other.identity, purposes=purposes, roles=self.roles & other.roles
        )

    def has_purpose(self, purpose: str) -> bool:
        """Whether this principal was granted ``purpose``."""
        return self.purposes is None or purpose in self.purposes

    @property
    def is_admin(self) -> bool:
        """Whether this principal may change policies, sweep and purge. It gives no right to data."""
        return Role.ADMIN in self.roles

    @property
    def audited_role(self) -> str | None:
        """The role that an audit row names: ``admin`` before ``auditor``. None for the vault itself."""
        if not self.roles or self.method == SYSTEM_METHOD:
            return None
        return (Role.ADMIN if Role.ADMIN in self.roles else Role.AUDITOR).value

    @property
    def may_inspect_all(self) -> bool:
        """Whether this principal may always inspect metadata: admins and auditors."""
        return bool(self.roles)


SYSTEM = Principal(app="vsqlvault", method=SYSTEM_METHOD, credential_id="system", roles=frozenset({Role.ADMIN}))
"""The vault itself, for sweeps on the timer. No credential has this method."""


def is_internal(app: str | None, known: Collection[str]) -> bool:
    """Whether an audit row with this app is of the vault itself. ``known`` are the apps of the known credentials.

    An app with a known credential can have the same name. It is not internal. No token can name it.
    """
    return app == SYSTEM.app and app not in known


@dataclass(slots=True)
class Call:
    """One request as the audit log records it: the principal, the request id and the client's address without a port.

    ``traceparent`` is the trace context of the request, if it has a valid one. ``refusal`` is the error whose audit row is
    committed. The auditor sets it, and nothing else of a call changes.
    """

    principal: Principal
    request_id: str
    client_address: str | None = None
    untrusted_forwarding: bool = field(default=False, kw_only=True)
    traceparent: str | None = field(default=None, kw_only=True)
    refusal: Exception | None = field(default=None, init=False, compare=False, repr=False)
