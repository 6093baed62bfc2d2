"""Verifying checkpoints and receipts offline: nothing of the vault is asked, and nothing it says about itself is believed.

The formats are C2SP signed-note, tlog-checkpoint and tlog-proof, with hashes as in RFC 9162, section 2.1. Needs the package
``cryptography`` (extra ``verify``).
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from vsqlvault.client.errors import Unusable, VaultError

RECEIPT = "vsqlvault-receipt-v1"
PROOF = "c2sp.org/tlog-proof@v1"
ED25519 = b"\x01"
KEY_ID_BYTES, KEY_BYTES, HASH_BYTES = 4, 32, 32
MAX_TEXT = 64 * 1024
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class NotVerified(VaultError):
    """The signature or the proof is not valid."""

    slug = "not-verified"


@dataclass(frozen=True)
class Checkpoint:
    """A verified tree head: the name of the log, the number of its rows, and the root hash."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True)
class VerifiedPurge:
    """What a receipt proves: the row of the purge log, its index in the log, and the checkpoint over it."""

    row: Mapping[str, Any]
    index: int
    checkpoint: Checkpoint


def verify_checkpoint(note: str, key: str | Sequence[str]) -> Checkpoint:
    """Return what a checkpoint says, if one of the verifier keys has signed it.

    Raises:
        NotVerified: it is malformed, or no key has signed it.
        Unusable: a key is malformed, or ``cryptography`` is not installed.
    """
    keys = [_key(each) for each in ([key] if isinstance(key, str) else key)]
    text, separator, signatures = note.rpartition("\n\n")
    if len(note) > MAX_TEXT or not separator:
        raise NotVerified("expected a signed note")
    message = f"{text}\n"
    signers = {name for name in (_signer(line, message, keys) for line in signatures.splitlines()) if name}
    lines = message.split("\n")
    root = _hash(lines[2]) if len(lines) > 3 else None  # noqa: PLR2004 - origin, size, root, and what follows
    if root is None or not _NUMBER.fullmatch(lines[1]):
        raise NotVerified("expected a checkpoint: origin, size and root hash")
    if lines[0] not in signers:
        raise NotVerified("expected a signature of the log by one of the keys")
    return Checkpoint(lines[0], int(lines[1]), root)


def verify_receipt(receipt: Mapping[str, Any], key: str | Sequence[str]) -> VerifiedPurge:
    """Return what the receipt of a purge proves, by verifier keys from another source than the receipt.

    Raises:
        NotVerified, Unusable: as ``verify_checkpoint``.
    """
    leaf, proof = receipt.get("leaf"), receipt.get("proof")
    if receipt.get("format") != RECEIPT or not isinstance(leaf, str) or not isinstance(proof, str):
        raise NotVerified(f"expected a receipt of the format {RECEIPT}")
    index, path, note = _proof(proof)
    checkpoint = verify_checkpoint(note, key)
    if index >= checkpoint.size or _root(index, checkpoint.size, _leaf_hash(leaf), path) != checkpoint.root:
        raise NotVerified("the proof does not lead to the root of the checkpoint")
    try:
        row = json.loads(leaf)["purge"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NotVerified("expected a row of the purge log") from None
    if receipt.get("purge") != row or receipt.get("entry_hash") != row.get("proof_hash"):
        raise NotVerified("what the receipt says is not what its row says")
    return VerifiedPurge(row, index, checkpoint)


@dataclass(frozen=True)
class _Key:
    name: str
    key_id: bytes
    public: bytes


def _key(text: str) -> _Key:
    """Read a verifier key, ``name+id+base64``."""
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    material = _base64(encoded)
    if not name or material is None or material[:1] != ED25519 or len(material) != 1 + KEY_BYTES:
        raise Unusable("verifier key: expected name+id+base64, for Ed25519")
    expected = sha256(name.encode() + b"\n" + material).digest()[:KEY_ID_BYTES]
    if expected.hex() != key_id:
        raise Unusable("verifier key: expected the id of its name and key")
    return _Key(name, expected, material[1:])


def _signer(line: str, message: str, keys: Sequence[_Key]) -> str | None:
    """Return the name of the key that made this signature; None: it is none of them. Raises NotVerified: it is forged."""
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    material = _base64(encoded)
    if dash != "—" or material is None or len(material) <= KEY_ID_BYTES:
        raise NotVerified("expected lines of signatures")
    for key in keys:
        if (key.name, key.key_id) == (name, material[:KEY_ID_BYTES]):
            if not _has_signed(key, message.encode(), material[KEY_ID_BYTES:]):
                raise NotVerified("a signature is not valid")
            return name
    return None


def _has_signed(key: _Key, message: bytes, signature: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError:
        raise Unusable("verifying needs the package cryptography: pip install 'vsqlvault-client[verify]'") from None
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _proof(text: str) -> tuple[int, list[bytes], str]:
    """Return the index, the path and the checkpoint of an inclusion proof. Raises NotVerified."""
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    if lines[1:] and lines[1].startswith("extra "):
        del lines[1]
    number = lines[1].removeprefix("index ") if len(lines) > 1 and lines[1].startswith("index ") else ""
    path = [_hash(line) for line in lines[2:]]
    hashes = [one for one in path if one is not None]
    if not separator or lines[0] != PROOF or not _NUMBER.fullmatch(number) or len(hashes) != len(path):
        raise NotVerified(f"expected a proof of the format {PROOF}")
    return int(number), hashes, note


def _root(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """Return the root to which a path leads (RFC 9162, section 2.1.3.2); None: the path has not the right length."""
    place, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            found = _node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = _node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return found if last == 0 else None


def _leaf_hash(leaf: str) -> bytes:
    return sha256(b"\x00" + leaf.encode()).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _hash(line: str) -> bytes | None:
    found = _base64(line)
    return found if found is not None and len(found) == HASH_BYTES else None


def _base64(text: str) -> bytes | None:
    """Return what canonical base64 stands for; None: it is none."""
    try:
        found = b64decode(text, validate=True)
    except ValueError:
        return None
    return found if b64encode(found).decode() == text else None
