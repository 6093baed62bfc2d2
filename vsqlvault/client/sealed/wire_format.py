"""The bytes of a sealed value, version 1. docs/sealing.md describes them, with test vectors."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256

from vsqlvault.client.errors import FieldProblem, ValidationFailed
from vsqlvault.client.sealed.errors import KeyRefChanged, SealCut, SealMoved, SealUnknown

MAGIC = b"VSS1"
AES_256_GCM = 1
PLACE_BYTES, NONCE_BYTES, TAG_BYTES = 16, 12, 16
FIXED = struct.Struct(">4sBHHI16s")
MAX_SHORT, MAX_LONG = 2**16 - 1, 2**32 - 1


@dataclass(frozen=True)
class Sealed:
    """The parts of a sealed value. ``associated`` is what the tag authenticates besides the ciphertext."""

    key_ref: str
    wrapped: bytes
    nonce: bytes
    ciphertext: bytes
    """With the tag at its end."""
    associated: bytes


def place_of(purpose: str, external_id: str) -> bytes:
    """Return what names an entry; neither of the two can hold a slash."""
    return f"{purpose}/{external_id}".encode("ascii")


def header(place: bytes, key_ref: str, wrapped: bytes, size: int) -> bytes:
    """Return everything before the nonce. Raises ValidationFailed: a part is too long."""
    name = key_ref.encode("utf-8")
    if len(name) > MAX_SHORT or len(wrapped) > MAX_SHORT or size > MAX_LONG:
        raise ValidationFailed(errors=[FieldProblem("value", "at most 4 GiB, under a shorter key_ref and wrapped key")])
    fixed = FIXED.pack(MAGIC, AES_256_GCM, len(name), len(wrapped), size, _digest(place))
    return fixed + name + wrapped


def read(value: bytes, place: bytes, key_ref: str | None) -> Sealed:
    """Return the parts of the sealed value of an entry. ``key_ref`` is the one that the vault names; None: not compared.

    Raises:
        SealUnknown, SealCut, SealMoved, KeyRefChanged.
    """
    if value[: len(MAGIC)] != MAGIC[: len(value)] or not value:
        raise SealUnknown
    if len(value) < FIXED.size:
        raise SealCut
    _, algorithm, name_size, wrapped_size, size, digest = FIXED.unpack_from(value)
    if algorithm != AES_256_GCM:
        raise SealUnknown
    wrapped_at = FIXED.size + name_size
    nonce_at = wrapped_at + wrapped_size
    ciphertext_at = nonce_at + NONCE_BYTES
    if len(value) != ciphertext_at + size + TAG_BYTES:
        raise SealCut
    if digest != _digest(place):
        raise SealMoved
    try:
        name = value[FIXED.size : wrapped_at].decode("utf-8")
    except UnicodeDecodeError:
        raise SealUnknown from None
    if key_ref is not None and name != key_ref:
        raise KeyRefChanged
    return Sealed(
        name, value[wrapped_at:nonce_at], value[nonce_at:ciphertext_at], value[ciphertext_at:], value[:nonce_at] + place
    )


def _digest(place: bytes) -> bytes:
    return sha256(place).digest()[:PLACE_BYTES]
