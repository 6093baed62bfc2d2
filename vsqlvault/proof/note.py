"""Signed notes with Ed25519 in the format C2SP signed-note (https://c2sp.org/signed-note), and their keys."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vsqlvault.quick_dataclass import dataclass

ED25519 = b"\x01"
KEY_ID_BYTES = 4
SIGNATURE_BYTES = 64
MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 64
_KEY_NAME = re.compile(r"[^\s+]{1,256}")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f]")
_PRIVATE = "PRIVATE+KEY"

Sign = Callable[[bytes], bytes]
"""Returns the Ed25519 signature of a message, 64 bytes."""


class NoteRefused(ValueError):
    """A note is malformed, or is not signed by a trusted key."""


class SignerUnknown(NoteRefused):
    """No trusted key has signed the note: its signatures can be neither verified nor refuted."""


class KeyInvalid(ValueError):
    """A text is not a key."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a signing key, with its name. ``str`` returns the text form ``name+id+base64``."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        if not _KEY_NAME.fullmatch(self.name):
            raise KeyInvalid("expected a key's name without spaces and plus signs")
        if len(self.public_key) != 32:  # noqa: PLR2004
            raise KeyInvalid(f"expected a public key of 32 bytes, found {len(self.public_key)}")

    @property
    def key_id(self) -> bytes:
        """Four bytes that distinguish the keys of one name."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public_key).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(ED25519 + self.public_key).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Parse the text form.

        Raises:
            KeyInvalid: it is not a key, or not one for Ed25519.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        material = _base64(encoded)
        if material is None or material[:1] != ED25519:
            raise KeyInvalid("expected a verifier key: name+id+base64, for Ed25519")
        key = cls(name, material[1:])
        if key.key_id.hex() != key_id:
            raise KeyInvalid(f"expected the key id {key.key_id.hex()}, found another one")
        return key

    def holds(self, message: bytes, signature: bytes) -> bool:
        """Return whether this key signed the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """The verifier key, and the function that signs."""

    verifier: VerifierKey
    sign: Sign


class SigningKey:
    """The private half, in the text form of Go's ``sumdb/note``: ``PRIVATE+KEY+name+id+base64``."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = VerifierKey(name, self._private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """Generate a key. Raises KeyInvalid if the name is invalid."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Parse the text form. Raises KeyInvalid, without the text."""
        head, _, rest = text.strip().partition(f"{_PRIVATE}+")
        name, _, rest = rest.partition("+")
        key_id, _, encoded = rest.partition("+")
        material = _base64(encoded)
        if head or material is None or material[:1] != ED25519 or len(material) != 33:  # noqa: PLR2004
            raise KeyInvalid(f"expected a signing key: {_PRIVATE}+name+id+base64, for Ed25519")
        key = cls(name, material[1:])
        if key.verifier.key_id.hex() != key_id:
            raise KeyInvalid("expected a signing key whose id is that of its name and key")
        return key

    def reveal(self) -> str:
        """Return the text form of the key, for storing it."""
        verifier = self.verifier
        return f"{_PRIVATE}+{verifier.name}+{verifier.key_id.hex()}+{b64encode(ED25519 + self._seed).decode()}"

    @property
    def signer(self) -> Signer:
        """The signer with this key."""
        return Signer(self.verifier, self._private.sign)


def sign_note(text: str, *signers: Signer) -> str:
    """Return the text with the signature of each signer. The text ends with a newline."""
    if not text.endswith("\n") or _CONTROLS.search(text):
        raise ValueError("expected a text that ends with a newline, without other control characters")
    lines = [
        f"— {signer.verifier.name} {b64encode(signer.verifier.key_id + signer.sign(text.encode())).decode()}\n"
        for signer in signers
    ]
    return f"{text}\n{''.join(lines)}"


def open_note(note: str, keys: Iterable[VerifierKey]) -> tuple[str, tuple[VerifierKey, ...]]:
    """Return a note's text and the keys that have signed it. Signatures of unknown keys are ignored.

    Raises:
        SignerUnknown: no key has signed it. NoteRefused: it is malformed, or a signature of a key does not verify.
    """
    text, signatures = split_note(note)
    known = {(key.name, key.key_id): key for key in keys}
    signed: dict[VerifierKey, None] = {}
    for name, key_id, signature in signatures:
        if key := known.get((name, key_id)):
            if not key.holds(text.encode(), signature):
                raise NoteRefused(f"the signature of {name} {key_id.hex()} does not verify")
            signed[key] = None
    if not signed:
        by = ", ".join(f"{name} {key_id.hex()}" for name, key_id, _ in signatures)
        raise SignerUnknown(f"expected a signature of a trusted key, found {by}")
    return text, tuple(signed)


def split_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Return a note's text, and the name, key id and bytes of each signature, without verification.

    Raises:
        NoteRefused: it is malformed.
    """
    text, separator, block = note.rpartition("\n\n")
    if len(note) > MAX_NOTE_BYTES or _CONTROLS.search(note):
        raise NoteRefused("expected a note of at most 64 KiB without control characters")
    if not separator or not block.endswith("\n"):
        raise NoteRefused("expected a text, an empty line, and signature lines")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteRefused(f"expected at most {MAX_SIGNATURES} signatures")
    return text + "\n", [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes, bytes]:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    material = _base64(encoded)
    if dash != "—" or not _KEY_NAME.fullmatch(name) or material is None or len(material) <= KEY_ID_BYTES:
        raise NoteRefused("expected a signature line: an em dash, a name, base64")
    return name, material[:KEY_ID_BYTES], material[KEY_ID_BYTES:]


def _base64(text: str) -> bytes | None:
    """Return the decoded bytes, or None if the text is not canonical base64."""
    try:
        found = b64decode(text, validate=True)
    except ValueError:
        return None
    return found if b64encode(found).decode() == text else None
