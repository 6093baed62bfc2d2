"""The vsql-vault command: its options and subcommands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from vsqlvault import __version__
from vsqlvault.cli import (
    attest,
    backup,
    completion,
    evidence,
    keygen,
    man,
    new_plugin,
    report,
    schema,
    serve,
    sweep,
    verify,
)
from vsqlvault.cli.client.commands import add_commands as add_client_commands
from vsqlvault.cli.exit_codes import exit_code
from vsqlvault.cli.keys import HELP as KEYS_HELP
from vsqlvault.cli.keys import add_keys_commands
from vsqlvault.cli.log_format import set_up_logging
from vsqlvault.cli.output import add_json, print_json, print_rows
from vsqlvault.cli.plugin_commands import add_plugin_commands
from vsqlvault.cli.words import Parser
from vsqlvault.config import DEFAULT_SIGNING_KEY_FILE, Settings, load_settings
from vsqlvault.errors import InvalidTime
from vsqlvault.model.times import parse_time
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import leave, migrated, planned, run_to_end

HERE = Path("vsql-vault.toml")
"""The settings where no --config is given."""

ReadSettings = Callable[[argparse.Namespace], Settings]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 success, 1 failure, 2 unusable settings or plugins."""
    code = exit_code(lambda: _run(sys.argv[1:] if arguments is None else arguments))
    return leave(code) if arguments is None else code


Add = Callable[[str, Callable[[argparse.Namespace, ReadSettings], Any], str], argparse.ArgumentParser]
"""Adds a command by name, function and help, and returns its parser."""


def _run(arguments: Sequence[str]) -> Any:
    options = _parser(arguments).parse_args(arguments)
    return options.run(options, _settings)


def _parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser; with the commands of plugins, where the arguments ask for one."""
    parser = Parser(
        prog="vsql-vault",
        description="Governed storage for data that was encrypted elsewhere.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file in TOML")
    parser.add_argument("--version", action="version", version=f"vsql-vault {__version__}")
    parser.add_argument(
        "--dev",
        action="store_true",
        help="start a development server: SQLite in this directory, a new API key, loopback only",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="with --dev: another loopback address or port")
    parser.add_argument(
        "--key", metavar="KEY", help="with --dev: this API key. Default: VSQL_VAULT_API_KEY, or a new key"
    )
    parser.set_defaults(run=serve.serve, dev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace, ReadSettings], Any], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="settings file in TOML"
        )
        command.set_defaults(run=run)
        return command

    _add_server_commands(add)
    _add_report_commands(add)
    add_json(add("plugins", _plugins, "list the plugins that the server would load, with their distributions"))
    _add_keygen(add)
    add_keys_commands(commands.add_parser("keys", help=KEYS_HELP, description=KEYS_HELP), _settings)
    _add_audit_commands(add)
    add_client_commands(commands)
    completion_parser = add("completion", _completion, "print the completion script for a shell")
    completion_parser.add_argument("shell", choices=completion.SHELLS, help="the shell")
    add("man", _man, "print the man page")
    add_plugin_commands(add, list(commands.choices), arguments)
    return parser


def _add_server_commands(add: Add) -> None:
    add("serve", serve.serve, "start the server (default)")
    migrate = add("migrate", _migrate, "update the storage's schema")
    migrate.add_argument("--plan", action="store_true", help="only print the steps of the migration")
    add_json(migrate)
    backup_parser = add(
        "backup", backup.backup, "copy the storage to one file, while it is in use, and check such a file"
    )
    backup.add_arguments(backup_parser)
    sweep_parser = add("sweep", sweep.sweep, "purge expired entries, with proof")
    scrub_parser = add("scrub", sweep.scrub, "remove purged bytes from the data files")
    sweep.add_arguments(sweep_parser, scrub_parser)


def _add_report_commands(add: Add) -> None:
    report_parser = add("report", report.write_report, "print the compliance report as JSON, or write it to files")
    report_parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to FILE as JSON")
    report_parser.add_argument("--html", type=Path, metavar="FILE", help="write the report to FILE as HTML")
    for name, text in (
        ("--as-of", "count entries as of this instant"),
        ("--since", "count the logs from this time, inclusive"),
        ("--until", "count the logs up to this time, exclusive"),
    ):
        report_parser.add_argument(name, type=_time, metavar="TIME", help=f"{text}, such as 2027-02-16T00:00:00Z")
    schema_parser = add(
        "schema",
        schema.print_schema,
        "print a JSON Schema: of the settings, of the HTTP API (OpenAPI), or of the report",
    )
    schema_parser.add_argument(
        "of",
        nargs="?",
        choices=("settings", "api", "report"),
        default="settings",
        help="which schema to print; default: settings",
    )


def _add_keygen(add: Add) -> None:
    text = "generate an API key and its settings, or a signing key for the transparency log"
    keygen_parser = add("keygen", keygen.generate_key, text)
    kind = keygen_parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--app", metavar="NAME", help="the app of the API key")
    kind.add_argument("--signing", action="store_true", help="generate a signing key")
    add_json(keygen_parser)
    keygen_parser.add_argument("--origin", metavar="NAME", help="the name of the log, such as vault.example.com/audit")
    keygen_parser.add_argument(
        "--out", type=Path, metavar="FILE", default=Path(DEFAULT_SIGNING_KEY_FILE), help="the file for the signing key"
    )


def _add_audit_commands(add: Add) -> None:
    verify.add_arguments(
        add(
            "verify",
            verify.verify,
            "verify the transparency log of this vault, a log export, an evidence file, a receipt or an attestation",
        ),
        add(
            "export-audit",
            verify.export,
            "write the transparency log to one file that can be verified without the vault",
        ),
    )
    attest.add_arguments(add("attest", attest.attest, "create a signed attestation of retention"))
    evidence.add_arguments(
        add(
            "evidence",
            evidence.write_evidence,
            "write the report, policies, logs and proofs of a period to one signed file",
        ),
        _time,
    )
    text = "confirm a restore: purge again what an export records as purged, and end the quarantine"
    verify.add_restore_arguments(add("confirm-restore", verify.confirm_restore, text))
    check = add(
        "check-config", _check_config, "validate the settings and load the plugins, without starting the server"
    )
    check.add_argument("--connect", action="store_true", help="also open the storage, and compare its schema")
    add_json(check)
    new_plugin.add_arguments(add("new-plugin", new_plugin.new_plugin, "write a plugin to start from, with tests"))


def _settings(options: argparse.Namespace) -> Settings:
    if options.config is None and HERE.is_file():
        options.config = HERE
    settings = load_settings(options.config)
    is_server = options.run is serve.serve
    set_up_logging(settings.logging.format, settings.logging.level, sys.stdout if is_server else sys.stderr)
    return settings


def _migrate(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    plugins = Plugins(read_settings(options))
    status = run_to_end(planned(plugins) if options.plan else migrated(plugins))
    if options.json:
        print_json(status)
        return
    done = "nothing to do" if status.before == status.after else f"from version {status.before}"
    print(f"schema version {status.after}: {done}")
    if options.plan:
        for step in status.steps:
            print(f"  would run {step}")


def _completion(options: argparse.Namespace, _: ReadSettings) -> None:
    print(completion.script(_parser(), options.shell), end="")


def _man(_: argparse.Namespace, __: ReadSettings) -> None:
    print(man.page(_parser(), __version__), end="")


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except InvalidTime as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _plugins(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    print_rows(("name", "distribution", "version"), Plugins(read_settings(options)).origins, as_json=options.json)


def _check_config(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    plugins = serve.check(read_settings(options))
    status = serve.check_storage(plugins) if options.connect else None
    if options.json:
        source = str(options.config) if options.config else None
        print_json({"valid": True, "config": source, "plugins": len(plugins.origins), "schema": status})
        return
    print(f"{options.config or 'default settings'}: valid, {len(plugins.origins)} plugins")
    if status:
        print(f"the storage is reachable, its schema has version {status.before}, this program needs {status.after}")
