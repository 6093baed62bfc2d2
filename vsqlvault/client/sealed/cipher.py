"""Sealing and opening: AES-256-GCM, bound to the purpose and id of the entry and to the header."""

from __future__ import annotations

import os
from functools import lru_cache

from vsqlvault.client.errors import Unusable
from vsqlvault.client.sealed.errors import SealAltered
from vsqlvault.client.sealed.keyrings import DataKey, KeyRing
from vsqlvault.client.sealed.wire_format import NONCE_BYTES, header, place_of, read

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    raise Unusable("sealing needs the package cryptography: pip install 'vsqlvault-client[seal]'") from None

ALGORITHM = "AES-256-GCM"
"""The ``algorithm_hint`` of a sealed entry."""


def seal(key: DataKey, purpose: str, external_id: str, plaintext: bytes) -> bytes:
    """Return the sealed value for one entry, under a new random nonce."""
    return sealed_with(key, purpose, external_id, plaintext, os.urandom(NONCE_BYTES))


def sealed_with(key: DataKey, purpose: str, external_id: str, plaintext: bytes, nonce: bytes) -> bytes:
    """As ``seal`` with a nonce that is given, for test vectors. Two values under one nonce give the key away."""
    place = place_of(purpose, external_id)
    head = header(place, key.key_ref, key.wrapped, len(plaintext))
    return b"".join((head, nonce, encrypt(key.key, nonce, plaintext, head + place)))


def unseal(keyring: KeyRing, purpose: str, external_id: str, value: bytes, *, key_ref: str | None = None) -> bytes:
    """Return the plaintext of the sealed value of one entry. ``key_ref`` is the one the vault names, if it is known.

    Raises:
        SealError: the value is not one that was sealed for this entry, or the key ring does not open it.
    """
    parts = read(value, place_of(purpose, external_id), key_ref)
    key = keyring.opening_key(parts.key_ref, parts.wrapped)
    return decrypt(key, parts.nonce, parts.ciphertext, parts.associated)


def encrypt(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Return the ciphertext with its tag at its end."""
    return _cipher(key).encrypt(nonce, plaintext, associated)


def decrypt(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """Return the plaintext. Raises SealAltered: the tag is not that of these bytes under this key."""
    try:
        return _cipher(key).decrypt(nonce, ciphertext, associated)
    except InvalidTag:
        raise SealAltered from None


@lru_cache(maxsize=64)
def _cipher(key: bytes) -> AESGCM:
    return AESGCM(key)
