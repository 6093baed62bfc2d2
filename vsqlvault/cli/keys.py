"""``vsql-vault keys``: creates, lists and revokes API keys in the storage, on the vault's host."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from vsqlvault.cli.output import add_json, print_json, print_rows
from vsqlvault.config import Settings
from vsqlvault.errors import FieldError, SettingsInvalid, ValidationFailed
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.times import format_time
from vsqlvault.runtime import open_vault, run_to_end
from vsqlvault.service.credentials.api_keys import CreatedKey, KeyListRequest, RevokedKey, SeenKey
from vsqlvault.service.vault import Vault

Answer = TypeVar("Answer")
ReadSettings = Callable[[argparse.Namespace], Settings]
PAGE = 1_000
_FLAGS = {"purposes": "--purpose", "roles": "--role", "expires_at": "--expires-at"}
_COLUMNS = (
    "credential_id",
    "state",
    "app",
    "identity",
    "purposes",
    "roles",
    "created_at",
    "expires_at",
    "last_used_at",
)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add ``list``, ``create`` and ``revoke`` to the parser of ``keys``."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, act: Callable[[Settings, argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="settings file in TOML"
        )
        add_json(command)
        command.set_defaults(act=act)
        return command

    add("list", _list, "list the keys in the storage, oldest first")
    create = add("create", _create, "create a key and print it once")
    create.add_argument("--app", required=True, metavar="NAME", help="the app of the key")
    create.add_argument(
        "--purpose",
        action="append",
        default=[],
        metavar="NAME",
        help="a purpose the app may use, repeatable; '*' for all",
    )
    create.add_argument("--role", action="append", default=[], choices=["admin", "auditor"], help="a role, repeatable")
    create.add_argument("--identity", metavar="TEXT", help="the workload or person behind the app")
    create.add_argument(
        "--expires-at",
        metavar="TIME",
        help="RFC 3339 time with offset, such as 2027-02-16T00:00:00Z; default: no expiry",
    )
    create.add_argument("--description", metavar="TEXT", help="a text for people")
    revoke = add("revoke", _revoke, "revoke a key")
    revoke.add_argument("key_id", metavar="KEY", help="the key's id: sha256: and 12 hex digits")


def run(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Run the command below ``keys``. Raises StartUpRefused, Unavailable."""
    options.act(read_settings(options), options)


def _list(settings: Settings, options: argparse.Namespace) -> None:
    async def read(vault: Vault, call: Call) -> list[SeenKey]:
        found: list[SeenKey] = []
        while True:
            after = (found[-1].key.created_at, found[-1].key.key_id) if found else None
            page = await vault.credentials.api_keys.keys(call, KeyListRequest(limit=PAGE, after=after))
            found += page
            if len(page) < PAGE:
                return found

    print_rows(_COLUMNS, map(_document, _with_vault(settings, read)), as_json=options.json)


def _document(seen: SeenKey) -> dict[str, Any]:
    from vsqlvault.http.operations.api_keys import seen_key_document  # noqa: PLC0415 - it imports all of http

    return seen_key_document(seen)


def _create(settings: Settings, options: argparse.Namespace) -> None:
    from vsqlvault.http.schemas.bodies import ApiKeyBody, read_body  # noqa: PLC0415 - no other command needs it

    wanted: dict[str, Any] = {"app": options.app, "purposes": options.purpose, "roles": options.role}
    for name in ("identity", "expires_at", "description"):
        if (text := getattr(options, name)) is not None:
            wanted[name] = text

    async def make(vault: Vault, call: Call) -> CreatedKey:
        return await vault.credentials.api_keys.create(call, read_body(ApiKeyBody, wanted).wanted())

    try:
        created = _with_vault(settings, make)
    except ValidationFailed as refused:
        field = refused.errors[0].field.partition("[")[0] if refused.errors else "app"
        expected = refused.errors[0].expected if refused.errors else refused.detail or refused.title()
        raise SettingsInvalid(FieldError(_FLAGS.get(field, f"--{field}"), expected).sentence) from None
    key = created.seen.key
    if options.json:
        print_json({"key": created.secret, **_document(created.seen), "warnings": list(created.warnings)})
        return
    print(
        f"API key of {key.app}, id {key.key_id}. It is shown only once; give it only to the app:\n\n  {created.secret}"
    )
    for warning in created.warnings:
        print(f"note: {warning}", file=sys.stderr)


def _revoke(settings: Settings, options: argparse.Namespace) -> None:
    async def end(vault: Vault, call: Call) -> RevokedKey:
        return await vault.credentials.api_keys.revoke(call, options.key_id.replace("-", ":"))

    revoked = _with_vault(settings, end)
    key = revoked.seen.key
    if options.json:
        print_json({**_document(revoked.seen), "warnings": list(revoked.warnings)})
        return
    at = f" since {format_time(key.revoked_at)}" if key.revoked_at else ""
    print(f"{key.key_id} of {key.app} is revoked{at}")
    for warning in revoked.warnings:
        print(f"note: {warning}")


def _with_vault(settings: Settings, act: Callable[[Vault, Call], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        async with open_vault(settings, signs=False, creates=False) as vault:
            return await act(vault, Call(SYSTEM, secrets.token_hex(16)))

    return run_to_end(run())
