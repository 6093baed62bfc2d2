"""The keygen command."""

from __future__ import annotations

import argparse
import json
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from vsqlvault.cli.output import add_json, print_json
from vsqlvault.cli.output_files import require_writable
from vsqlvault.config import DEFAULT_SIGNING_KEY_FILE, ApiKeySettings, Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.times import format_time, utc_now
from vsqlvault.proof.note import KeyInvalid, SigningKey
from vsqlvault.service.credentials.api_keys import digest_of, new_secret
from vsqlvault.service.log.signing_keys import write_key

_SIGNING = """The signing key is in {path}, readable only by you. Keep a copy on another machine: the log needs it to change to
another key.

Give its verifier key to everyone who verifies the log, through a channel other than the vault:

  {verifier}

Add this to vsql-vault.toml:

[audit]
signing_key_file = {quoted}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--app", metavar="NAME", help="the app of the API key")
    kind.add_argument("--signing", action="store_true", help="generate a signing key")
    add_json(parser)
    parser.add_argument("--origin", metavar="NAME", help="the name of the log, such as vault.example.com/audit")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", default=Path(DEFAULT_SIGNING_KEY_FILE), help="the file for the signing key"
    )


def generate_key(options: argparse.Namespace, _: Callable[[argparse.Namespace], Settings]) -> None:
    """Generate an API key or a signing key, and print the settings for it."""
    if options.signing:
        require_writable("--out", options.out)
        made = _new_signing_key(options.out, options.origin)
        if options.json:
            print_json({"file": str(options.out), "verifier_key": str(made.verifier)})
        else:
            print(_SIGNING.format(path=options.out, verifier=made.verifier, quoted=json.dumps(str(options.out))))
        return
    key = new_secret()
    digest = digest_of(key)
    try:
        ApiKeySettings(app=options.app, key_sha256=digest)
    except ValueError:
        raise SettingsInvalid(f"--app: expected letters, digits and . _ : @ / -, found {options.app!r}") from None
    if options.json:
        print_json({"app": options.app, "key": key, "key_sha256": digest})
        return
    print(f"""API key of {options.app}. It is shown only once; give it only to the app:

  {key}

Add this to vsql-vault.toml, then send SIGHUP to the server:

[[auth.api_keys]]
app = {json.dumps(options.app)}
key_sha256 = "{digest}"
created_at = {format_time(utc_now().replace(microsecond=0))}
purposes = []  # none yet: list those the app may use, such as ["card"]; ["*"] for all""")


def _new_signing_key(path: Path, origin: str | None) -> SigningKey:
    """Generate a signing key in a new file."""
    try:
        key = SigningKey.generate(origin or f"{socket.gethostname()}/vsqlvault-{secrets.token_hex(4)}")
    except KeyInvalid:
        raise SettingsInvalid(f"--origin: expected a name without spaces and plus signs, found {origin!r}") from None
    write_key(path, key)
    return key
