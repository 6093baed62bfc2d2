"""Key rings: which key seals now, and which one opens what was sealed."""

from __future__ import annotations

import binascii
import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vsqlvault.client.errors import Unusable
from vsqlvault.client.files import durable_file
from vsqlvault.client.sealed.errors import UnknownKey

KEY_BYTES = 32
MAX_FILE_BYTES = 1024 * 1024
MAX_KEY_REF = 256
OTHERS = 0o077
VARIABLE = "VSQL_VAULT_KEY_RING"
_HEX = re.compile(r"[0-9A-Fa-f]{64}")


@dataclass(frozen=True)
class DataKey:
    """A key to seal with. ``wrapped`` is the key as a key management service encrypted it; it travels with the value."""

    key_ref: str
    key: bytes = field(repr=False)
    wrapped: bytes = b""


class KeyRing(Protocol):
    """Gives the keys. An exception of a key management service passes through to the caller."""

    @property
    def blocks(self) -> bool:
        """Whether a call may wait for the network. If so, ``AsyncSealedVault`` calls it in a thread."""

    def sealing_key(self) -> DataKey:
        """Return the key to seal with now."""

    def opening_key(self, key_ref: str, wrapped: bytes) -> bytes:
        """Return the key, 32 bytes, of what was sealed under ``key_ref``. Raises UnknownKey."""


class StaticKeyRing:
    """Keys of 32 bytes, by their key_ref. ``current`` seals; all of them open."""

    blocks = False

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        """Raises Unusable: a key has not 32 bytes, or there is none called ``current``."""
        for key_ref, key in keys.items():
            if not isinstance(key, bytes) or len(key) != KEY_BYTES:
                raise Unusable(f"key ring: expected 32 bytes under each key_ref, not under {_shown(key_ref)}")
            if not 0 < len(key_ref) <= MAX_KEY_REF:
                raise Unusable(f"key ring: expected each key_ref to have 1 to {MAX_KEY_REF} characters")
        if current not in keys:
            raise Unusable("key ring: expected current to be one of the keys")
        self._keys = dict(keys)
        self._current = DataKey(current, self._keys[current])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._keys)} keys, current {_shown(self._current.key_ref)}>"

    def sealing_key(self) -> DataKey:
        """Return the current key."""
        return self._current

    def opening_key(self, key_ref: str, wrapped: bytes) -> bytes:  # noqa: ARG002 - these keys are not wrapped
        """Return the key of that name. Raises UnknownKey."""
        key = self._keys.get(key_ref)
        if key is None:
            raise UnknownKey
        return key


class EnvironmentKeyRing(StaticKeyRing):
    """The keys in a variable, as ``FileKeyRing`` has them in a file."""

    def __init__(self, variable: str = VARIABLE) -> None:
        """Raises Unusable: the variable is not set, or is no key ring."""
        text = os.environ.get(variable)
        if not text:
            raise Unusable(f"key ring: expected the variable {variable} to be set")
        super().__init__(*parsed(text, variable))


class FileKeyRing(StaticKeyRing):
    """The keys in a JSON file: ``{"current": "card-key-v7", "keys": {"card-key-v7": "<32 bytes in base64 or hex>"}}``.

    The file may be readable by its owner only. It is read again where a key is missing, so that a running application
    opens what others already seal with a newer key; ``reload`` takes the newer ``current``, too.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: str | None = None) -> None:
        """``create`` is the key_ref of a new key, for which the file is made if it is not there.

        Raises:
            Unusable: the file cannot be read, others can read it, or it is no key ring.
        """
        self._path = Path(path)
        if create is not None:
            _created(self._path, create)
        self.reload()

    def reload(self) -> None:
        """Read the file again. Raises Unusable; then the keys stay as they were."""
        StaticKeyRing.__init__(self, *parsed(_read(self._path), str(self._path)))

    def opening_key(self, key_ref: str, wrapped: bytes) -> bytes:
        """Return the key of that name. Raises UnknownKey."""
        if key_ref not in self._keys:
            current = self._current
            self.reload()
            self._current = current
        return super().opening_key(key_ref, wrapped)


def parsed(text: str, where: str) -> tuple[dict[str, bytes], str]:
    """Return the keys of a JSON key ring, and which one is current. Raises Unusable, which shows nothing of it."""
    try:
        document = json.loads(text)
        keys = {key_ref: key_of(encoded) for key_ref, encoded in document["keys"].items()}
        current = document["current"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        keys, current = {}, None
    if not keys or not isinstance(current, str):
        raise Unusable(f'{where}: expected JSON with "current" and "keys", each key 32 bytes in base64 or hex')
    return keys, current


def key_of(text: str) -> bytes:
    """Return the key that base64 or 64 hex digits stand for. Raises ValueError."""
    found = binascii.unhexlify(text) if _HEX.fullmatch(text) else b64decode(text, validate=True)
    if len(found) != KEY_BYTES:
        raise ValueError("expected 32 bytes")
    return found


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & OTHERS:
                raise Unusable(f"{path}: expected a file that only its owner can read: chmod 600")
            return file.read(MAX_FILE_BYTES).decode("utf-8")
    except OSError as error:
        raise Unusable(f"{path}: expected a key ring that can be read, found: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{path}: expected a key ring that can be read, found bytes that are not UTF-8") from None


def _created(path: Path, key_ref: str) -> None:
    """Make a file with one new key, unless there is a file."""
    document = {"current": key_ref, "keys": {key_ref: b64encode(os.urandom(KEY_BYTES)).decode("ascii")}}
    try:
        with durable_file(path, replace=False) as file:
            file.write((json.dumps(document, indent=2) + "\n").encode("utf-8"))
    except FileExistsError:
        return
    except OSError as error:
        found = error.strerror
        raise Unusable(f"{path}: expected a place where a key ring can be written, found: {found}") from None


def _shown(key_ref: str) -> str:
    return ascii(str(key_ref)[:MAX_KEY_REF])
