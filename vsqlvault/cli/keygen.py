"""The keygen command."""

from __future__ import annotations

import argparse
import json
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from vsqlvault.config import ApiKeySettings, Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.proof.note import KeyInvalid, SigningKey
from vsqlvault.service.credentials.api_keys import digest_of, new_secret
from vsqlvault.service.log.signing_keys import write_key


def generate_key(options: argparse.Namespace, _: Callable[[argparse.Namespace], Settings]) -> None:
    """Generate an API key or a signing key, and print the settings for it."""
    if options.signing:
        print(_new_signing_key(options.out, options.origin))
        return
    key = new_secret()
    digest = digest_of(key)
    try:
        ApiKeySettings(app=options.app, key_sha256=digest)
    except ValueError:
        raise SettingsInvalid(f"--app: expected letters, digits and . _ : @ / -, found {options.app!r}") from None
    print(f"""API key of {options.app}. It is shown only once; give it only to the app:

  {key}

Add this to vsql-vault.toml, then send SIGHUP to the server:

[[auth.api_keys]]
app = {json.dumps(options.app)}
key_sha256 = "{digest}"
purposes = ["card"]  # the purposes the app may use; ["*"] for all""")


def _new_signing_key(path: Path, origin: str | None) -> str:
    """Generate a signing key, and return the text to print."""
    try:
        key = SigningKey.generate(origin or f"{socket.gethostname()}/vsqlvault-{secrets.token_hex(4)}")
    except KeyInvalid:
        raise SettingsInvalid(f"--origin: expected a name without spaces and plus signs, found {origin!r}") from None
    write_key(path, key)
    return f"""The signing key is in {path}, readable only by you. Keep a copy on another machine: the log needs it to change to
another key.

Give its verifier key to everyone who verifies the log, through a channel other than the vault:

  {key.verifier}

Add this to vsql-vault.toml:

[audit]
signing_key_file = {json.dumps(str(path))}"""
