"""API keys: random secrets of at least 128 bits, known to the vault by their SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from vsqlvault.config import ApiKeySettings, AuthSettings, Settings
from vsqlvault.errors import CredentialRefused, SettingsInvalid
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.authenticator import Authenticator, Presented
from vsqlvault.model.hardening import ProcessNeeds
from vsqlvault.model.principal import Principal, Role

MAX_KEY_LENGTH = 8192
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    principal: Principal
    expires_at: datetime | None


class ApiKeyAuthenticator:
    """Recognises apps by the header ``auth.api_key_header``."""

    name = "api-key"

    def __init__(self, settings: AuthSettings, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._header = settings.api_key_header.lower()
        self.credential_headers: tuple[str, ...] = (self._header,)
        self._keys = self._load(settings)

    def authenticate(self, presented: Presented) -> Principal | None:
        """See ``Authenticator.authenticate``. A wrong key costs the same work as a right one."""
        secret = presented.headers.get(self._header)
        if secret is None:
            return None
        if not secret or len(secret) > MAX_KEY_LENGTH or not secret.isascii():
            raise CredentialRefused("malformed")
        digest = hashlib.sha256(secret.encode("ascii")).digest()
        key = self._keys.get(digest)
        if not hmac.compare_digest(digest, key.digest if key else _NO_DIGEST) or key is None:
            raise CredentialRefused("bad_key")
        if key.expires_at is not None and datetime.now(UTC) >= key.expires_at:
            raise CredentialRefused("expired", credential_id=key.principal.credential_id)
        return key.principal

    async def reload(self, settings: Settings) -> None:
        """See ``Authenticator.reload``. The header's name stays what it was at start."""
        self._keys = self._load(settings.auth)

    def _load(self, settings: AuthSettings) -> dict[bytes, _Key]:
        keys: dict[bytes, _Key] = {}
        if settings.api_key_env and (secret := self._environment.get(settings.api_key_env)):
            principal = Principal(
                settings.api_key_app, self.name, f"env:{settings.api_key_env}", roles=frozenset({Role.ADMIN})
            )
            _add(keys, _Key(_digest(secret, settings.api_key_env), principal, None))
        elif settings.requires_bootstrap_key:
            raise SettingsInvalid(
                f"auth.api_key_env: expected a key in the variable {settings.api_key_env}, found none"
            )
        for listed in settings.api_keys:
            _add(keys, self._listed(listed))
        return keys

    def _listed(self, listed: ApiKeySettings) -> _Key:
        if listed.key_env is not None:
            secret = self._environment.get(listed.key_env)
            if not secret:
                raise SettingsInvalid(
                    f"auth.api_keys: {listed.app}: expected a key in the variable {listed.key_env}, found none"
                )
            digest, credential_id = _digest(secret, listed.key_env), f"env:{listed.key_env}"
        else:
            digest = bytes.fromhex(listed.key_sha256 or "")
            credential_id = f"sha256:{digest.hex()[:12]}"
        principal = Principal(
            app=listed.app,
            method=self.name,
            credential_id=credential_id,
            identity=listed.identity,
            purposes=None if listed.purposes is None else frozenset(listed.purposes),
            roles=frozenset(Role(role) for role in listed.roles),
        )
        return _Key(digest, principal, listed.expires_at)


def _digest(secret: str, variable: str) -> bytes:
    if not secret.isascii() or not secret.isprintable() or secret != secret.strip() or len(secret) > MAX_KEY_LENGTH:
        raise SettingsInvalid(
            f"{variable}: expected a key of printable ASCII without blanks at its ends, found something that is not shown"
        )
    return hashlib.sha256(secret.encode("ascii")).digest()


def _add(keys: dict[bytes, _Key], key: _Key) -> None:
    if key.digest in keys:
        apps = f"{keys[key.digest].principal.app} and {key.principal.app}"
        raise SettingsInvalid(f"auth.api_keys: expected a key of its own for each, found one key for {apps}")
    keys[key.digest] = key


@hookimpl
def vault_process_needs() -> list[ProcessNeeds]:
    """Say that keys need nothing of their own."""
    return []


@hookimpl
def vault_authenticators(settings: Settings) -> list[Authenticator]:
    """Offer API keys."""
    return [ApiKeyAuthenticator(settings.auth)]
