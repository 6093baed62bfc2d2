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
    """Generates an API key or a signing key and prints the settings for it."""
    """Generates an API key or a signing key and prints the settings for it."""
    if options.signing:
        print(_new_signing_key(options.out, options.origin))
        return
    key = new_secret()
    digest = digest_of(key)
    try:
        ApiKeySettings(app=options.app, key_sha256=digest)
    except ValueError:
        raise SettingsInvalid(f"--app: expected letters, digits and . _ : @ / -, found {options.app!r}") from None
    print(f"""The key of {options.app}, shown once; give it to the app and to nobody else:

  {key}

What the vault needs to know of it, for vsql-vault.toml (then SIGHUP):

[[auth.api_keys]]
app = {json.dumps(options.app)}
key_sha256 = "{digest}"
purposes = ["card"]  # the purposes this app holds; ["*"] for all""")


def _new_signing_key(path: Path, origin: str | None) -> str:
    """Make a signing key, and return what there is to say of it."""
    try:
        key = SigningKey.generate(origin or f"{socket.gethostname()}/vsqlvault-{secrets.token_hex(4)}")
    except KeyInvalid:
        raise SettingsInvalid(f"--origin: expected a name without spaces and plus signs, found {origin!r}") from None
    write_key(path, key)
    return f"""The signing key is in {path}, readable for you only. Keep a copy where the vault is not: the log needs it to
change to another key.

Its verifier key, for whoever checks the log; give it to them by a way that is not the vault:

  {key.verifier}

For vsql-vault.toml:

[audit]
signing_key_file = {json.dumps(str(path))}"""
