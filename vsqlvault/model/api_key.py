"""API keys in the storage: the grants and the lifetime of each key, never the key itself."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from vsqlvault.model.principal import Principal, Role
from vsqlvault.quick_dataclass import dataclass

KEY_ID = re.compile(r"sha256:[0-9a-f]{12}", re.ASCII)
PATH_KEY_ID = re.compile(r"sha256[:-][0-9a-f]{12}", re.ASCII)
"""A key's id in a path. Clients percent-encode ``:``, which no path may contain; ``-`` survives."""
_SHOWN_DIGITS = 12


class ApiKeyState(StrEnum):
    """The state of a key."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRecord:
    """One version of one key.

    The first version contains its grants, the second one its revocation. Nothing else changes. ``digest`` is the
    SHA-256 digest of the key, 64 hex digits. ``purposes`` is None for all purposes.
    """

    key_id: str
    version: int
    digest: str
    app: str
    identity: str | None
    purposes: frozenset[str] | None
    roles: frozenset[Role]
    description: str | None
    expires_at: datetime | None
    created_by: str
    created_at: datetime
    revoked_by: str | None = None
    revoked_at: datetime | None = None

    def state(self, at: datetime) -> ApiKeyState:
        """Return the state of the key at a time of the storage's clock. The key expires at ``expires_at``, not after it."""
        if self.revoked_at is not None:
            return ApiKeyState.REVOKED
        return ApiKeyState.EXPIRED if self.expires_at is not None and at >= self.expires_at else ApiKeyState.ACTIVE

    def principal(self, method: str) -> Principal:
        """Return the principal of the key, for an authenticator with the name ``method``."""
        return Principal(self.app, method, self.key_id, self.identity, self.purposes, self.roles)


def key_id_of(digest: str) -> str:
    """Return the public id of the key with this digest (hex): its first 48 bits, from which the key cannot be guessed.

    Anyone with the key can compute the id. The id alone does not authenticate.
    """
    return f"sha256:{digest[:_SHOWN_DIGITS]}"
