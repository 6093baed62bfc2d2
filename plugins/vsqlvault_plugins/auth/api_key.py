"""API keys: random secrets of at least 128 bits, stored as SHA-256 digests, in the settings and in the storage."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Mapping
from datetime import datetime

from vsqlvault.config import ApiKeySettings, AuthSettings, Settings
from vsqlvault.errors import CredentialRefused, SettingsInvalid
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.authenticator import Authenticator, Presented
from vsqlvault.interfaces.stored_keys import NoStoredKeys, StoredKeys
from vsqlvault.model.api_key import ApiKeyRecord, ApiKeyState, key_id_of
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.principal import Principal, Role
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.quick_dataclass import dataclass

MAX_KEY_LENGTH = 8192
MIN_KEY_LENGTH = 22
"""The characters of 128 random bits in base64."""

MIN_DIFFERENT = 10
"""A random key of this length with fewer different characters is less likely than one in a million."""

_NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class _Key:
    digest: str
    principal: Principal
    created_at: datetime | None
    expires_at: datetime | None
    is_strong: bool | None


@dataclass(frozen=True, slots=True)
class _Made:
    key: ApiKeyRecord
    principal: Principal
    known: KnownCredential


class ApiKeyAuthenticator(Authenticator):
    """Authenticates apps by the header ``auth.api_key_header``."""

    name = "api-key"

    def __init__(
        self,
        settings: AuthSettings,
        environment: Mapping[str, str] | None = None,
        stored_keys: StoredKeys | None = None,
    ) -> None:
        self._stored_keys = stored_keys or NoStoredKeys()
        self._made: dict[str, _Made] = {}
        self._environment = os.environ if environment is None else environment
        self._header = settings.api_key_header.lower()
        self.credential_headers: tuple[str, ...] = (self._header,)
        self._keys = self._load(settings)

    def authenticate(self, presented: Presented) -> Principal | Awaitable[Principal | None] | None:
        """See ``Authenticator.authenticate``. A wrong key costs the same work as a right one.

        Another process may just have created an unknown key. It is then looked up again in the storage, but not for
        every wrong key.
        """
        secret = presented.headers.get(self._header)
        if secret is None:
            return None
        if not secret or len(secret) > MAX_KEY_LENGTH or not secret.isascii():
            raise CredentialRefused("malformed")
        digest = hashlib.sha256(secret.encode("ascii")).hexdigest()
        listed = self._keys.get(digest)
        stored = self._stored_keys.find(digest) if listed is None else None
        known = listed or stored
        if not hmac.compare_digest(digest, known.digest if known else _NO_DIGEST) or known is None:
            if self._stored_keys.can_refresh:
                return self._looked_for(digest)
            raise CredentialRefused("bad_key")
        return self._listed_principal(listed) if listed else self._stored_principal(stored)

    async def _looked_for(self, digest: str) -> Principal:
        await self._stored_keys.look()
        return self._stored_principal(self._stored_keys.find(digest))

    def _listed_principal(self, key: _Key) -> Principal:
        if key.expires_at is not None and self._stored_keys.now() >= key.expires_at:
            raise CredentialRefused("expired", credential_id=key.principal.credential_id)
        return key.principal

    def _stored_principal(self, key: ApiKeyRecord | None) -> Principal:
        """Return the principal, the same object each time, so that it is checked only once."""
        if key is None:
            raise CredentialRefused("bad_key")
        if key.revoked_at is not None or key.expires_at is not None:
            state = key.state(self._stored_keys.now())
            if state is not ApiKeyState.ACTIVE:
                raise CredentialRefused(state.value, credential_id=key.key_id)
        return self._made_of(key).principal

    @property
    def is_in_use(self) -> bool:
        """See ``Authenticator.is_in_use``."""
        return bool(self._keys) or any(True for _ in self._stored_keys.all())

    def credentials(self) -> list[KnownCredential]:
        """Return every known key. The strength of a key is unknown if the settings have only its digest."""
        listed = [
            KnownCredential(
                method=self.name,
                credential_id=key.principal.credential_id,
                app=key.principal.app,
                source="settings",
                identity=key.principal.identity,
                purposes=key.principal.purposes,
                roles=key.principal.roles,
                created_at=key.created_at,
                expires_at=key.expires_at,
                is_strong=key.is_strong,
                fingerprint=hashlib.sha256(f"fingerprint {key.digest}".encode()).hexdigest(),
            )
            for key in self._keys.values()
        ]
        return listed + [self._made_of(key).known for key in self._stored_keys.all()]

    def _made_of(self, key: ApiKeyRecord) -> _Made:
        """Return the objects made of a record, the same objects for the same record."""
        made = self._made.get(key.key_id)
        if made is None or made.key is not key:
            made = self._made[key.key_id] = _Made(key, key.principal(self.name), _known(key, self.name))
        return made

    async def reload(self, settings: Settings) -> None:
        """See ``Authenticator.reload``. The header's name stays as it was at start."""
        self._keys = self._load(settings.auth)

    def _load(self, settings: AuthSettings) -> dict[str, _Key]:
        keys: dict[str, _Key] = {}
        if settings.api_key_env and (secret := self._environment.get(settings.api_key_env)):
            principal = Principal(
                settings.api_key_app, self.name, f"env:{settings.api_key_env}", roles=frozenset({Role.ADMIN})
            )
            digest = _digest(secret, settings.api_key_env)
            strong = _strength(secret, settings.api_key_env, settings)
            _add(keys, _Key(digest, principal, settings.api_key_created_at, settings.api_key_expires_at, strong))
        for listed in settings.api_keys:
            _add(keys, self._listed(listed, settings))
        return keys

    def _listed(self, listed: ApiKeySettings, settings: AuthSettings) -> _Key:
        strong = None
        if listed.key_env is not None:
            secret = self._environment.get(listed.key_env)
            digest = _digest(secret, listed.key_env) if secret else f"not set: {listed.key_env}"
            strong = _strength(secret, listed.key_env, settings) if secret else None
            credential_id = f"env:{listed.key_env}"
        else:
            digest = listed.key_sha256 or ""
            credential_id = key_id_of(digest)
        principal = Principal(
            app=listed.app,
            method=self.name,
            credential_id=credential_id,
            identity=listed.identity,
            purposes=None if listed.purposes is None else frozenset(listed.purposes),
            roles=frozenset(Role(role) for role in listed.roles),
        )
        return _Key(digest, principal, listed.created_at, listed.expires_at, strong)


def _known(key: ApiKeyRecord, method: str) -> KnownCredential:
    return KnownCredential(
        method=method,
        credential_id=key.key_id,
        app=key.app,
        source="storage",
        identity=key.identity,
        purposes=key.purposes,
        roles=key.roles,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        is_strong=True,  # the vault made it: 256 random bits
    )


def _strength(secret: str, variable: str, settings: AuthSettings) -> bool:
    """Return whether a key is long and varied enough. Raises SettingsInvalid if it must be and is not."""
    is_strong = len(secret) >= MIN_KEY_LENGTH and len(set(secret)) >= MIN_DIFFERENT
    if settings.require_strong_keys and not is_strong:
        raise SettingsInvalid(
            f"{variable}: expected a key of at least {MIN_KEY_LENGTH} characters, {MIN_DIFFERENT} of them different, found a"
            " weaker one that is not shown: generate one with vsql-vault keygen"
        )
    return is_strong


def _digest(secret: str, variable: str) -> str:
    if not secret.isascii() or not secret.isprintable() or secret != secret.strip() or len(secret) > MAX_KEY_LENGTH:
        raise SettingsInvalid(
            f"{variable}: expected a key of printable ASCII without spaces at its ends, found a value that is not shown"
        )
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def _add(keys: dict[str, _Key], key: _Key) -> None:
    if key.digest in keys:
        apps = f"{keys[key.digest].principal.app} and {key.principal.app}"
        raise SettingsInvalid(f"auth.api_keys: expected different keys, found one key for {apps}")
    keys[key.digest] = key


@hookimpl
def vault_process_needs() -> list[ProcessNeeds]:
    """Declare that the plugin needs no files or ports."""
    return []


@hookimpl
def vault_authenticators(settings: Settings, stored_keys: StoredKeys) -> list[Authenticator]:
    """Return the authenticator of API keys."""
    return [ApiKeyAuthenticator(settings.auth, stored_keys=stored_keys)]
