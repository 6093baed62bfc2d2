"""What both sealed vaults have in common: the requests, and the opened entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from vsqlvault.client.requests import entries
from vsqlvault.client.results.entries import Entry, RetrievedEntry, StoredEntry
from vsqlvault.client.sealed.cipher import ALGORITHM, seal, unseal
from vsqlvault.client.sealed.keyrings import DataKey, KeyRing
from vsqlvault.client.wire import Request, Time, bytes_of, external_id_path, purpose_path


@dataclass(frozen=True, kw_only=True)
class OpenedEntry(Entry):
    """An entry with its plaintext."""

    plaintext: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The plaintext as text. Raises UnicodeDecodeError: it is not UTF-8."""
        return self.plaintext.decode("utf-8")


@dataclass(frozen=True)
class Resealing:
    """The request that replaces exactly the version that was read, sealed under another key."""

    request: Request[StoredEntry]
    value: bytes = field(repr=False)


def put(
    key: DataKey,
    purpose: str,
    external_id: str,
    plaintext: bytes | str,
    *,
    metadata: Mapping[str, Any] | None = None,
    expires_at: Time | None = None,
    ttl: str | timedelta | None = None,
    access_policy: str | None = None,
    if_match: str | None = None,
    create_only: bool = False,
) -> Request[StoredEntry]:
    """Return the request that stores a plaintext sealed. The value is sealed once, for all attempts."""
    purpose_path(purpose)
    external_id_path(external_id)
    content = bytes_of("plaintext", plaintext)
    return entries.put(
        purpose,
        external_id,
        seal(key, purpose, external_id, content),
        key_ref=key.key_ref,
        algorithm_hint=ALGORITHM,
        metadata=metadata,
        expires_at=expires_at,
        ttl=ttl,
        access_policy=access_policy,
        if_match=if_match,
        create_only=create_only,
    )


def opened(keyring: KeyRing, entry: RetrievedEntry, purpose: str, external_id: str) -> OpenedEntry:
    """Return the entry opened, as that which was asked for: what the vault says of its place is not believed."""
    plaintext = unseal(keyring, purpose, external_id, entry.value, key_ref=entry.key_ref or "")
    return OpenedEntry(plaintext=plaintext, **_members(entry))


def resealing(keyring: KeyRing, entry: RetrievedEntry, purpose: str, external_id: str) -> Resealing | None:
    """Return how to move an entry to the current key of the ring; None: it is there already.

    Metadata and access policy stay. Where the retention policy ends the entry before its ``expires_at``, the earlier time
    becomes that: the vault would refuse the later one.

    Raises:
        SealError: the value does not open.
    """
    plaintext = unseal(keyring, purpose, external_id, entry.value, key_ref=entry.key_ref or "")
    key = keyring.sealing_key()
    if entry.key_ref == key.key_ref:
        return None
    value = seal(key, purpose, external_id, plaintext)
    request = entries.put(
        purpose,
        external_id,
        value,
        key_ref=key.key_ref,
        algorithm_hint=ALGORITHM,
        metadata=entry.metadata,
        expires_at=entry.effective_expires_at,
        access_policy=entry.access_policy,
        if_match=entry.etag,
    )
    return Resealing(request, value)


def unchanged(entry: RetrievedEntry) -> StoredEntry:
    """Return an entry that stays as it is, as if it had just been stored."""
    return StoredEntry(created=False, **_members(entry))


def _members(entry: Entry) -> dict[str, Any]:
    return {each.name: getattr(entry, each.name) for each in fields(Entry)}
