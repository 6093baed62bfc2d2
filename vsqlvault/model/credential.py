"""Credentials in the inventory: creation, expiry and usage."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from vsqlvault.model.principal import Role
from vsqlvault.quick_dataclass import dataclass


class CredentialName(NamedTuple):
    """The name of a credential on audit rows: the authenticator's name and the credential id."""

    method: str
    credential_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCredential:
    """A credential that its authenticator knows before it is presented.

    ``source`` is where it is defined: ``settings`` or ``storage``. ``created_at`` is None if the creation time is
    unknown. ``first_used_at`` and ``last_used_at`` are None if it was never used. ``fingerprint`` differs if the secret
    does, and does not reveal it; None if the credential id does that. ``is_strong`` is whether the secret is long and varied
    enough, or None if the vault does not know it.
    """

    credential_id: str
    app: str
    source: str
    identity: str | None = None
    purposes: frozenset[str] | None = frozenset()
    roles: frozenset[Role] = frozenset()
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    method: str = ""
    first_used_at: datetime | None = None
    last_used_at: datetime | None = None
    fingerprint: str | None = None
    is_strong: bool | None = None

    @property
    def since(self) -> datetime | None:
        """The earliest time at which the credential is known to have existed."""
        return self.created_at or self.first_used_at

    def state(self, at: datetime) -> str:
        """Return ``active``, ``expired`` or ``revoked``, as of a time."""
        if self.revoked_at is not None and self.revoked_at <= at:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= at else "active"


@dataclass(frozen=True, slots=True)
class CredentialUse:
    """When a credential first and last authenticated a request, to the second."""

    first_used_at: datetime
    last_used_at: datetime
