"""``vsql-vault``: serving a vault, and what an operator does beside it."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from vsqlvault import __version__, attest_command, audit_command, evidence_command, purge_command, serve_command
from vsqlvault.config import ApiKeySettings, Settings, load_settings
from vsqlvault.errors import InvalidTime, SettingsInvalid
from vsqlvault.exit_codes import exit_code
from vsqlvault.key_commands import HELP as KEYS_HELP
from vsqlvault.key_commands import add_keys_commands
from vsqlvault.log_format import set_up_logging
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.times import parse_time
from vsqlvault.plugin_manager import Plugins
from vsqlvault.proof.note import KeyInvalid, SigningKey
from vsqlvault.runtime import migrated, open_vault
from vsqlvault.service.api_keys import digest_of, new_secret
from vsqlvault.service.report_schema import JSON_SCHEMA, report_schema
from vsqlvault.service.signing_keys import write_key


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 settings or plugins that cannot be used."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vsql-vault",
        description="Governed storage for data that was encrypted elsewhere.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    parser.add_argument("--version", action="version", version=f"vsql-vault {__version__}")
    parser.add_argument("--dev", action="store_true", help="serve an SQLite file here, with a new key; loopback only")
    parser.set_defaults(run=_serve, dev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], Any], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="settings in TOML")
        command.set_defaults(run=run)
        return command

    add("serve", _serve, "serve the vault (what happens without a command)")
    add("migrate", _migrate, "bring the storage's schema up to date")
    sweep = add("sweep", _sweep, "purge what has expired, with proof")
    scrub = add("scrub", _scrub, "drive the bytes of what was purged out of the data files")
    purge_command.add_arguments(sweep, scrub)
    report = add("report", _report, "print the compliance report as JSON, or write it to files")
    report.add_argument("--json", type=Path, metavar="FILE", help="write it there as JSON")
    report.add_argument("--html", type=Path, metavar="FILE", help="write it there as a page")
    for name, text in (
        ("--as-of", "count entries as of this instant"),
        ("--since", "count the logs from here"),
        ("--until", "count the logs to here"),
    ):
        report.add_argument(name, type=_time, metavar="TIME", help=f"{text} (2027-02-16T00:00:00Z)")
    schema = add("schema", _schema, "print a JSON Schema: of the settings, of the HTTP API (OpenAPI), or of the report")
    schema.add_argument("of", nargs="?", choices=("settings", "api", "report"), default="settings", help="of what")
    add("plugins", _plugins, "list the plugins that would be loaded, and where they come from")
    text = "make an API key and the settings for it, or a signing key for the transparency log"
    keygen = add("keygen", _keygen, text)
    kind = keygen.add_mutually_exclusive_group(required=True)
    kind.add_argument("--app", metavar="NAME", help="the app that the API key is for")
    kind.add_argument("--signing", action="store_true", help="make a signing key")
    keygen.add_argument("--origin", metavar="NAME", help="what the log is called, such as vault.example.com/audit")
    keygen.add_argument(
        "--out", type=Path, metavar="FILE", default=serve_command.SIGNING_KEY_FILE, help="where the signing key goes"
    )
    add_keys_commands(commands.add_parser("keys", help=KEYS_HELP, description=KEYS_HELP), _settings)
    audit_command.add_arguments(
        add(
            "verify",
            _verify,
            "check the transparency log of this vault, an export of one, evidence, a receipt, or an attestation",
        ),
        add("export-audit", _export_audit, "write the transparency log to one file, to be checked without the vault"),
    )
    attest_command.add_arguments(add("attest", _attest, "look at retention, and sign and keep what was found"))
    evidence_command.add_arguments(
        add("evidence", _evidence, "write report, policies, logs and proofs of a period to one signed file"), _time
    )
    text = "purge again what an export says was purged, and end the quarantine"
    audit_command.add_restore_arguments(add("confirm-restore", _confirm_restore, text))
    add("check-config", _check_config, "read the settings and load the plugins, then say whether all is well")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    settings = load_settings(options.config)
    set_up_logging(settings.logging.format, settings.logging.level)
    return settings


def _serve(options: argparse.Namespace) -> None:
    serve_command.serve(options, _settings)


def _migrate(options: argparse.Namespace) -> None:
    status = asyncio.run(migrated(Plugins(_settings(options))))
    done = "nothing to do" if status.before == status.after else f"from version {status.before}"
    print(f"schema version {status.after}: {done}")


def _sweep(options: argparse.Namespace) -> None:
    purge_command.sweep(options, _settings)


def _scrub(options: argparse.Namespace) -> int:
    return purge_command.scrub(options, _settings)


def _report(options: argparse.Namespace) -> None:
    from vsqlvault.http.report_page import report_page  # noqa: PLC0415 - with it comes what serving needs

    async def run() -> dict[str, Any]:
        async with open_vault(_settings(options)) as vault:
            call = Call(SYSTEM, secrets.token_hex(16))
            return await vault.report.write(call, options.as_of, since=options.since, until=options.until)

    report = asyncio.run(run())
    text = json.dumps(report, indent=2, ensure_ascii=False)
    if options.json:
        _write_file("--json", options.json, f"{text}\n".encode())
    if options.html:
        _write_file("--html", options.html, report_page(report))
    if not options.json and not options.html:
        print(text)


def _write_file(option: str, path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SettingsInvalid(f"{option}: expected a file that can be written, found {error.strerror}") from None


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except InvalidTime as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _schema(options: argparse.Namespace) -> None:
    print(json.dumps(_schema_of(options), indent=2, ensure_ascii=False))


def _schema_of(options: argparse.Namespace) -> dict[str, Any]:
    if options.of == "report":
        return report_schema()
    if options.of == "settings":
        return {"$schema": JSON_SCHEMA, **Settings.model_json_schema()}
    from vsqlvault.http.openapi import build_openapi  # noqa: PLC0415 - only this and serving need Quart
    from vsqlvault.http.operations import OPERATIONS  # noqa: PLC0415

    return build_openapi(OPERATIONS, _settings(options).auth.api_key_header)


def _plugins(options: argparse.Namespace) -> None:
    for origin in Plugins(_settings(options)).origins:
        print(f"{origin.name:<24} {origin.distribution} {origin.version}")


def _verify(options: argparse.Namespace) -> int:
    return audit_command.verify(options, _settings)


def _export_audit(options: argparse.Namespace) -> None:
    audit_command.export(options, _settings)


def _evidence(options: argparse.Namespace) -> None:
    evidence_command.write_evidence(options, _settings)


def _attest(options: argparse.Namespace) -> int:
    return attest_command.attest(options, _settings)


def _confirm_restore(options: argparse.Namespace) -> int:
    return audit_command.confirm_restore(options, _settings)


def _keygen(options: argparse.Namespace) -> None:
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


def _check_config(options: argparse.Namespace) -> None:
    plugins = serve_command.check(_settings(options))
    print(f"{options.config or 'the defaults'}: all is well, with {len(plugins.origins)} plugins")
