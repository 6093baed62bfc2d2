"""Loads the signing key of the transparency log from a file or the environment."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from vsqlvault.config import AuditSettings
from vsqlvault.durable_file import write_durably
from vsqlvault.errors import SettingsInvalid
from vsqlvault.proof.note import KeyInvalid, SigningKey
from vsqlvault.service.log.sequencer import Signing

_READABLE_BY_ALL = stat.S_IROTH | stat.S_IWOTH


def load_signing(
    settings: AuditSettings, environment: Mapping[str, str] | None = None, default_file: Path | None = None
) -> Signing:
    """Return the signing keys. Where none is set, ``default_file`` may be the one that was generated at the first start.

    Raises:
        SettingsInvalid: a configured key is not available, or the previous key is that of another log.
    """
    variables = os.environ if environment is None else environment
    current = _load("signing_key", settings.signing_key_file, settings.signing_key_env, variables)
    if default_file is not None and not has_signing_key(settings) and default_file.exists():
        found = _load("signing_key", str(default_file), None, variables)
        return Signing(found.signer if found else None, is_default=True)
    previous = _load(
        "previous_signing_key", settings.previous_signing_key_file, settings.previous_signing_key_env, variables
    )
    if current and previous and current.verifier.name != previous.verifier.name:
        raise SettingsInvalid(
            f"audit.previous_signing_key: expected a key with the name {current.verifier.name}, found "
            f"{previous.verifier.name}"
        )
    return Signing(
        current.signer if current else None, previous.signer if previous else None, settings.unsafe_previous_key_lost
    )


def has_signing_key(settings: AuditSettings) -> bool:
    """Whether the settings name a key."""
    return any((settings.signing_key_file, settings.signing_key_env, settings.previous_signing_key_file))


def generate_key(path: Path, origin: str | None = None) -> SigningKey | None:
    """Generate a key and write it to the path; return None if another process has just done so. Raises SettingsInvalid."""
    key = SigningKey.generate(origin or f"{socket.gethostname()}/vsqlvault-{secrets.token_hex(4)}")
    try:
        write_key(path, key)
    except SettingsInvalid:
        if path.exists():
            return None
        raise
    return key


def _load(setting: str, path: str | None, variable: str | None, environment: Mapping[str, str]) -> SigningKey | None:
    if path is not None:
        name, text = f"audit.{setting}_file", _read(f"audit.{setting}_file", Path(path))
    elif variable is not None:
        name, text = f"audit.{setting}_env", environment.get(variable, "")
        if not text:
            raise SettingsInvalid(f"{name}: expected the variable {variable} to be set, found it unset")
    else:
        return None
    try:
        return SigningKey.parse(text)
    except KeyInvalid as error:
        raise SettingsInvalid(f"{name}: {error}") from None


def _read(name: str, path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8")
    except OSError as error:
        raise SettingsInvalid(f"{name}: expected a readable file, found: {error.strerror}") from None
    except ValueError:
        raise SettingsInvalid(f"{name}: expected a signing key, found other bytes") from None
    if mode & _READABLE_BY_ALL:
        raise SettingsInvalid(f"{name}: expected a file readable by its owner only, found {stat.filemode(mode)}")
    return text


def write_key(path: Path, key: SigningKey) -> None:
    """Write a new key to a file that only its owner can read.

    Raises:
        SettingsInvalid: the file exists, or cannot be written.
    """
    try:
        write_durably(path, f"{key.reveal()}\n".encode(), replace=False)
    except FileExistsError:
        raise SettingsInvalid(f"{path}: expected no such file, found one: keys are never overwritten") from None
    except OSError as error:
        raise SettingsInvalid(f"{path}: expected a writable file, found: {error.strerror}") from None
