"""API keys that the storage keeps: what each grants, from when to when, and never the key itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vsqlvault.model.principal import Principal, Role

KEY_ID = re.compile(r"sha256:[0-9a-f]{12}", re.ASCII)
_SHOWN_DIGITS = 12


class ApiKeyState(StrEnum):
    """What became of a key."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRecord:
    """One version of one key: the first says what it grants, the second that it was revoked. Nothing else of it changes.

    ``digest`` is the SHA-256 of the key, 64 hex digits. ``purposes`` is None for all of them.
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
        """Return what the key is at an instant of the storage's clock; it expires at ``expires_at``, not after it."""
        if self.revoked_at is not None:
            return ApiKeyState.REVOKED
        return ApiKeyState.EXPIRED if self.expires_at is not None and at >= self.expires_at else ApiKeyState.ACTIVE

    def principal(self, method: str) -> Principal:
        """Return who presents it, as an authenticator called ``method`` says."""
        return Principal(self.app, method, self.key_id, self.identity, self.purposes, self.roles)


def key_id_of(digest: str) -> str:
    """Return the public name of the key with this digest (hex): its first 48 bits, from which no key can be guessed.

    Whoever holds a key can work out what it is called, and whoever only reads its name learns nothing that opens anything.
    """
    return f"sha256:{digest[:_SHOWN_DIGITS]}"
