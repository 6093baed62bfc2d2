"""Credentials as an inventory has them: when they began, when they end, when they were used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from vsqlvault.model.principal import Role


class CredentialName(NamedTuple):
    """What stands on audit rows: the authenticator's name, and what it calls the credential."""

    method: str
    credential_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCredential:
    """A credential that its authenticator knows before anybody presents it.

    ``source`` says where it is written down: ``settings`` or ``storage``. ``created_at`` is None where nobody wrote down
    when it was made; ``first_used_at`` and ``last_used_at`` are None where nobody has used it.
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

    @property
    def since(self) -> datetime | None:
        """The earliest instant at which it is known to have been there."""
        return self.created_at or self.first_used_at

    def state(self, at: datetime) -> str:
        """Return ``active``, ``expired`` or ``revoked``, as it was at an instant."""
        if self.revoked_at is not None and self.revoked_at <= at:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= at else "active"


@dataclass(frozen=True, slots=True)
class CredentialUse:
    """When a credential was first and last good for something, to the second or so."""

    first_used_at: datetime
    last_used_at: datetime
