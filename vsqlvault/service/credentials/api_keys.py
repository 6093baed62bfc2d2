"""API keys kept in the storage: admins create and revoke them, admins and auditors list them."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import field, replace
from datetime import datetime
from typing import Any

from vsqlvault.errors import ApiKeyNotFound, FieldError, StoredKeysOff, TooManyApiKeys, ValidationFailed, VaultError
from vsqlvault.errors.suggestions import undefined
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.interfaces.writes import Committed, RevisionIs, SaveApiKey, Write
from vsqlvault.model.api_key import ApiKeyRecord, ApiKeyState, key_id_of
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.principal import Call, Role
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import CREATED, OK, AuditContext, Auditor
from vsqlvault.service.audit.rule_documents import api_key_document
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.credentials.inventory import Credentials, last_uses
from vsqlvault.service.roles import require_admin, require_reader

MAX_API_KEYS = 10_000
"""Limit of keys that are not revoked: all of them are in memory."""

OWN_KEY = "this key made the request: it is refused from now on"
LAST_ADMIN = (
    "no other admin credential is known: create one on the vault's host with `vsql-vault keys create --role admin`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRequest:
    """What a key grants. ``purposes`` None: all purposes. ``expires_at`` None: valid until revoked."""

    app: str
    identity: str | None = None
    purposes: frozenset[str] | None = frozenset()
    roles: frozenset[Role] = frozenset()
    description: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SeenKey:
    """A key as shown to its reader: its present state, and when it was last used."""

    key: ApiKeyRecord
    state: ApiKeyState
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key, and the only copy of its secret."""

    seen: SeenKey
    secret: str = field(repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A revoked key, and warnings for the caller."""

    seen: SeenKey
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyListRequest:
    """A page of keys: oldest first, after which key, and how many at most."""

    limit: int
    after: tuple[datetime, str] | None = None
    app: str | None = None
    state: ApiKeyState | None = None


class ApiKeys:
    """Operations on stored keys. A key is never changed: it is created and revoked, each with an audit row."""

    def __init__(
        self,
        *,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        auditor: Auditor,
        credentials: Credentials,
        are_taken: bool = True,
        max_api_keys: int = MAX_API_KEYS,
    ) -> None:
        """``max_api_keys``: how many keys that are not revoked there may be."""
        self._max_api_keys = max_api_keys
        """``are_taken``: whether this vault accepts stored keys."""
        self._queue = queue
        self._policy_cache = policy_cache
        self._auditor = auditor
        self._credentials = credentials
        self._are_taken = are_taken

    async def create(self, call: Call, wanted: ApiKeyRequest) -> CreatedKey:
        """Create a key of 256 random bits. Every process accepts it once this has returned.

        Raises:
            RoleRequired, ValidationFailed, TooManyApiKeys, StoredKeysOff, Unavailable.
        """
        trace = AuditContext(call, Operation.CREATE_API_KEY)

        async def attempt() -> CreatedKey | None:
            require_admin(call)
            if not self._are_taken:
                raise StoredKeysOff
            policies, now = await self._current(trace)
            if wanted.expires_at is not None and wanted.expires_at <= now:
                raise ValidationFailed(errors=[FieldError("expires_at", "a time in the future")])
            if sum(key.revoked_at is None for key in policies.api_keys.values()) >= self._max_api_keys:
                raise TooManyApiKeys(f"at most {self._max_api_keys} that are not revoked")
            secret = new_secret()
            key = _key_to_be(wanted, secret, call, now)
            if key.key_id in policies.api_keys:
                return None
            trace.subject = key.key_id
            row = trace.granted(CREATED, new_value=_as_json(created_document(key)))
            warnings = undefined(
                "purpose",
                key.purposes or (),
                policies.retention,
                "nothing can be stored until it has a retention policy",
            )
            created = CreatedKey(SeenKey(key, key.state(now)), secret, warnings)
            return created if await self._saved(row, policies, key) else None

        return await self._auditor.run_audited(trace, attempt)

    async def revoke(self, call: Call, key_id: str, *, why: str | None = None) -> RevokedKey:
        """Revoke the key: no request that relies on it succeeds after this has returned.

        Revoking a revoked key changes nothing. ``why``: a further member of the new value in the row.

        Raises:
            RoleRequired, ApiKeyNotFound, Unavailable.
        """
        trace = AuditContext(call, Operation.REVOKE_API_KEY, subject=key_id)

        async def attempt() -> RevokedKey | None:
            require_admin(call)
            policies, now = await self._current(trace)
            old = policies.api_keys.get(key_id)
            if old is None:
                raise ApiKeyNotFound
            if old.revoked_at is not None:
                await self._queue.record(trace.granted())
                used = last_uses(self._credentials.known())
                return RevokedKey(SeenKey(old, ApiKeyState.REVOKED, used.get(key_id)))
            new = replace(old, version=old.version + 1, revoked_by=call.principal.app, revoked_at=now)
            said = {} if why is None else {"why": why}
            row = trace.granted(
                OK, old_value=_as_json(api_key_document(old)), new_value=_as_json(api_key_document(new) | said)
            )
            if not await self._saved(row, policies, new):
                return None
            known = self._credentials.known()
            seen = SeenKey(new, ApiKeyState.REVOKED, last_uses(known).get(key_id))
            return RevokedKey(seen, _warnings(call, new, now, known))

        return await self._auditor.run_audited(trace, attempt)

    async def key(self, call: Call, key_id: str) -> SeenKey:
        """Return one key. Raises RoleRequired, ApiKeyNotFound, Unavailable."""

        def pick(policies: PolicySnapshot) -> list[ApiKeyRecord]:
            if key_id not in policies.api_keys:
                raise ApiKeyNotFound
            return [policies.api_keys[key_id]]

        return (await self._read(call, pick, key_id))[0]

    async def keys(self, call: Call, wanted: KeyListRequest) -> list[SeenKey]:
        """Return a page of keys, oldest first. A page shorter than ``limit`` is the last.

        Raises:
            RoleRequired, Unavailable.
        """

        def pick(policies: PolicySnapshot) -> list[ApiKeyRecord]:
            of_app = (key for key in policies.api_keys.values() if wanted.app in {None, key.app})
            return sorted((key for key in of_app if wanted.after is None or _place(key) > wanted.after), key=_place)

        seen = await self._read(call, pick)
        return [each for each in seen if wanted.state in {None, each.state}][: wanted.limit]

    @asynccontextmanager
    async def naming(self, call: Call, operation: Operation, subject: str | None = None) -> AsyncIterator[None]:
        """Audit a refusal raised inside the block, with ``subject``, a key's id."""
        try:
            yield
        except VaultError as error:
            await self._auditor.refuse(AuditContext(call, operation, subject=subject), error)
            raise

    async def _read(
        self, call: Call, pick: Callable[[PolicySnapshot], list[ApiKeyRecord]], subject: str | None = None
    ) -> list[SeenKey]:
        trace = AuditContext(call, Operation.READ_API_KEY, subject=subject)

        async def attempt() -> list[SeenKey]:
            require_reader(call)
            policies, now = await self._current(trace)
            keys = pick(policies)
            used = last_uses(await self._credentials.inventory())
            await self._queue.record(trace.granted())
            return [SeenKey(key, key.state(now), used.get(key.key_id)) for key in keys]

        return await self._auditor.run_audited(trace, attempt)

    async def _current(self, trace: AuditContext) -> tuple[PolicySnapshot, datetime]:
        snapshot = await self._queue.read()
        trace.observe(snapshot)
        return await self._policy_cache.at(snapshot.revision), snapshot.now

    async def _saved(self, row: AccessRecord, policies: PolicySnapshot, key: ApiKeyRecord) -> bool:
        """Commit a version of a key, and update this process's cache before the caller gets the answer."""
        outcome = await self._queue.commit(Write((row,), (RevisionIs(policies.revision),), (SaveApiKey(key),)))
        if not isinstance(outcome, Committed):
            return False
        with suppress(VaultError):  # the next read of the storage refreshes the cache
            await self._policy_cache.at(policies.revision + 1)
        return True


def _warnings(call: Call, revoked: ApiKeyRecord, now: datetime, known: Sequence[KnownCredential]) -> tuple[str, ...]:
    warnings = [OWN_KEY] if call.principal.credential_id == revoked.key_id else []
    others = (each for each in known if each.credential_id != revoked.key_id and each.state(now) == "active")
    if Role.ADMIN in revoked.roles and not any(Role.ADMIN in each.roles for each in others):
        warnings.append(LAST_ADMIN)
    return tuple(warnings)


def new_secret() -> str:
    """Return a new key: ``vsk_`` and 256 random bits, base64url without padding."""
    return f"vsk_{secrets.token_urlsafe(32)}"


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a key as 64 hex digits: the only form in which the vault keeps it."""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def _key_to_be(wanted: ApiKeyRequest, secret: str, call: Call, now: datetime) -> ApiKeyRecord:
    digest = digest_of(secret)
    return ApiKeyRecord(
        key_id=key_id_of(digest),
        version=1,
        digest=digest,
        app=wanted.app,
        identity=wanted.identity,
        purposes=wanted.purposes,
        roles=wanted.roles,
        description=wanted.description,
        expires_at=wanted.expires_at,
        created_by=call.principal.app,
        created_at=now,
    )


def _place(key: ApiKeyRecord) -> tuple[datetime, str]:
    return key.created_at, key.key_id


def _as_json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def created_document(key: ApiKeyRecord) -> dict[str, Any]:
    """Return ``api_key_document`` with the SHA-256 of the digest, so that the audit row shows to which key it belongs.

    The key has 256 random bits: its digest cannot be found from this hash, and the key from neither.
    """
    return {**api_key_document(key), "digest_sha256": hashlib.sha256(key.digest.encode("ascii")).hexdigest()}
