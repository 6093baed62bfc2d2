"""The commands of the vault's host: names and help, without the modules that run them."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command. ``run`` and ``arguments`` are ``module:function`` in this folder; the module is imported when it is needed.

    ``arguments`` adds the command's arguments to its parser; empty: it has none but ``--config``.
    """

    name: str
    help: str
    run: str
    arguments: str = ""


SERVE = Command("serve", "start the server (default)", "serve:serve")
COMMANDS = (
    SERVE,
    Command("migrate", "update the storage's schema", "installation:migrate", "installation:add_migrate_arguments"),
    Command(
        "backup",
        "copy the storage to one file, while it is in use, and check such a file",
        "backup:backup",
        "backup:add_arguments",
    ),
    Command(
        "import",
        "store the entries of a file or of another vault, with their owners and times",
        "imports.command:run_import",
        "imports.command:add_arguments",
    ),
    Command("sweep", "purge expired entries, with proof", "sweep:sweep", "sweep:add_sweep_arguments"),
    Command("scrub", "remove purged bytes from the data files", "sweep:scrub", "sweep:add_scrub_arguments"),
    Command(
        "report",
        "print the compliance report as JSON, or write it to files",
        "report:write_report",
        "report:add_arguments",
    ),
    Command(
        "schema",
        "print a JSON Schema: of the settings, of the HTTP API (OpenAPI), or of the report",
        "schema:print_schema",
        "schema:add_arguments",
    ),
    Command(
        "plugins",
        "list the plugins that the server would load, with their distributions",
        "installation:list_plugins",
        "output:add_json",
    ),
    Command(
        "keygen",
        "generate an API key and its settings, or a signing key for the transparency log",
        "keygen:generate_key",
        "keygen:add_arguments",
    ),
    Command(
        "keys",
        "create, list and revoke API keys in the storage, with or without a running server",
        "keys:run",
        "keys:add_commands",
    ),
    Command(
        "verify",
        "verify the transparency log of this vault, a log export, an evidence file, a receipt or an attestation",
        "verify:verify",
        "verify:add_arguments",
    ),
    Command(
        "export-audit",
        "write the transparency log to one file that can be verified without the vault",
        "verify:export",
        "verify:add_export_arguments",
    ),
    Command(
        "archive-audit",
        "archive closed parts of the transparency log for any file server, and verify such an archive",
        "archive:archive",
        "archive:add_arguments",
    ),
    Command(
        "drop-archived",
        "delete archived rows of the logs from the storage, once the archive is verified",
        "drop_archived:drop",
        "drop_archived:add_arguments",
    ),
    Command("attest", "create a signed attestation of retention", "attest:attest", "attest:add_arguments"),
    Command(
        "evidence",
        "write the report, policies, logs and proofs of a period to one signed file",
        "evidence:write_evidence",
        "evidence:add_arguments",
    ),
    Command(
        "confirm-restore",
        "confirm a restore: repeat the purges, revocations and legal holds of an export, and end the quarantine",
        "confirm_restore:confirm_restore",
        "confirm_restore:add_arguments",
    ),
    Command(
        "check-config",
        "validate the settings and load the plugins, without starting the server",
        "installation:check_config",
        "installation:add_check_arguments",
    ),
    Command(
        "new-plugin", "write a plugin to start from, with tests", "new_plugin:new_plugin", "new_plugin:add_arguments"
    ),
)
LAST_COMMANDS = (
    Command(
        "completion", "print the completion script for a shell", "parser:print_completion", "parser:add_shell_argument"
    ),
    Command("man", "print the man page", "parser:print_man_page"),
)
"""They follow the commands that call a vault."""
