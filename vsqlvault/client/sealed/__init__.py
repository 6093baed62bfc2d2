"""Encrypting before storing and decrypting after retrieving. docs/sealing.md has the wire format and its limits.

Needs the package ``cryptography`` (extra ``seal``).
"""

from vsqlvault.client.sealed.asynchronous import AsyncSealedVault
from vsqlvault.client.sealed.blocking import SealedVault
from vsqlvault.client.sealed.cipher import seal, unseal
from vsqlvault.client.sealed.entries import OpenedEntry
from vsqlvault.client.sealed.errors import (
    KeyRefChanged,
    SealAltered,
    SealCut,
    SealError,
    SealMoved,
    SealUnknown,
    UnknownKey,
)
from vsqlvault.client.sealed.keyrings import DataKey, EnvironmentKeyRing, FileKeyRing, KeyRing, StaticKeyRing

__all__ = [
    "AsyncSealedVault",
    "DataKey",
    "EnvironmentKeyRing",
    "FileKeyRing",
    "KeyRefChanged",
    "KeyRing",
    "OpenedEntry",
    "SealAltered",
    "SealCut",
    "SealError",
    "SealMoved",
    "SealUnknown",
    "SealedVault",
    "StaticKeyRing",
    "UnknownKey",
    "seal",
    "unseal",
]
