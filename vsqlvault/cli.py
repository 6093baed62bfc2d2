"""``vsql-vault``: serving a vault, and what an operator does beside it."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsqlvault import __version__, attest_command, audit_command, evidence_command, purge_command
from vsqlvault.config import ApiKeySettings, Settings, load_settings
from vsqlvault.errors import InvalidTime, SettingsInvalid, StartUpRefused, StorageUnavailable, VaultError
from vsqlvault.hardening.lockdown import Lockdown
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault.key_commands import HELP as KEYS_HELP
from vsqlvault.key_commands import add_keys_commands
from vsqlvault.log_format import set_up_logging
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.times import parse_time
from vsqlvault.plugin_manager import Plugins
from vsqlvault.proof.note import KeyInvalid, SigningKey
from vsqlvault.runtime import check_reach, following, harden, open_storage, open_vault, sequencing, sweeping, watching
from vsqlvault.service.api_keys import digest_of, new_secret
from vsqlvault.service.report_schema import JSON_SCHEMA, report_schema
from vsqlvault.service.signing_keys import load_signing, write_key
from vsqlvault.service.vault import Vault

if TYPE_CHECKING:
    from vsqlvault.http.shared_metrics import Share

log = logging.getLogger("vsqlvault")
DEV_HOSTS = ("127.0.0.1", "[::1]", "localhost")
DEV_POLICY = RetentionPolicy("card", 0, 365, 90, "physical-delete", "Card tokens: at most 1 year, by default 90 days")
BAD_SETTINGS = 2
SHORT_KEY = 22
WORKERS_END_SECONDS = 15.0
SIGNING_KEY_FILE = Path("vault-signing.key")
DEV_ORIGIN = "localhost/vsqlvault-dev"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 settings or plugins that cannot be used."""
    options = _parser().parse_args(arguments)
    return _exit_code(lambda: options.run(options))


def _exit_code(run: Callable[[], object]) -> int:
    try:
        code = run()
    except StartUpRefused as error:
        print(f"vsql-vault: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except StorageUnavailable as error:
        print(f"vsql-vault: storage.database_url: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except VaultError as error:
        fields = "".join(f"; {each.field}: expected {each.expected}" for each in error.errors)
        print(f"vsql-vault: {error}{fields}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return code if isinstance(code, int) else 0


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
    keygen = add(
        "keygen", _keygen, "make an API key and the settings for it, or a signing key for the transparency log"
    )
    kind = keygen.add_mutually_exclusive_group(required=True)
    kind.add_argument("--app", metavar="NAME", help="the app that the API key is for")
    kind.add_argument("--signing", action="store_true", help="make a signing key")
    keygen.add_argument("--origin", metavar="NAME", help="what the log is called, such as vault.example.com/audit")
    keygen.add_argument("--out", type=Path, metavar="FILE", default=SIGNING_KEY_FILE, help="where the signing key goes")
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
    confirm = add(
        "confirm-restore", _confirm_restore, "purge again what an export says was purged, and end the quarantine"
    )
    audit_command.add_restore_arguments(confirm)
    add("check-config", _check_config, "read the settings and load the plugins, then say whether all is well")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    settings = load_settings(options.config)
    set_up_logging(settings.logging.format, settings.logging.level)
    return settings


def _serve(options: argparse.Namespace) -> None:
    from vsqlvault.http.signals import hold_hang_ups  # noqa: PLC0415

    hold_hang_ups()
    if options.dev:
        if options.config is not None:
            raise SettingsInvalid("--dev: expected no --config, for it brings its own settings")
        asyncio.run(_serve_dev())
        return
    settings = _settings(options)

    def load_again() -> Settings:
        return load_settings(options.config)

    if settings.server.workers == 1:
        asyncio.run(_run_server(settings, load_again, config=options.config))
    else:
        _serve_with_workers(settings, load_again, options.config)


def _serve_with_workers(settings: Settings, load: Callable[[], Settings], config: Path | None) -> None:
    """Look at storage and plugins once, take the port, and have it served by several processes."""
    from vsqlvault.http.server import listen  # noqa: PLC0415 - only serving needs Quart, and it takes long to import
    from vsqlvault.http.shared_metrics import Share, SharedSamples  # noqa: PLC0415
    from vsqlvault.http.workers import Workers  # noqa: PLC0415

    plugins = Plugins(settings)
    lockdown = harden(plugins, config)
    asyncio.run(_migrated(plugins))
    shared = SharedSamples(settings.server.workers)
    in_force = settings
    with listen(settings.server.listen_addr) as listener:

        def work(slot: int) -> int:
            return _exit_code(lambda: asyncio.run(run(slot)))

        async def run(slot: int) -> None:
            own = lockdown.in_child(settings.hardening)
            await _run_server(in_force, load, listener=listener, share=Share(shared, slot), lockdown=own)

        def look_again() -> None:
            """Have workers that start from now on begin with what the others are reading, where that can be used."""
            nonlocal in_force
            try:
                fresh = load()
                check_reach(plugins, lockdown, fresh)
                _check(fresh)
            except StartUpRefused:
                return  # each worker says so
            in_force = fresh

        ends_within = settings.server.graceful_timeout_seconds + WORKERS_END_SECONDS
        Workers(settings.server.workers, work, ends_within, shared.retire, look_again).run()


async def _serve_dev() -> None:
    """Serve ``vault.db`` in this directory with a key made for this run; the key is shown once, to whoever started it."""
    key = new_secret()
    settings = _dev_settings(key)
    set_up_logging(settings.logging.format, settings.logging.level)
    _make_signing_key_once(settings)

    async def set_policy(vault: Vault, address: str) -> None:
        if "card" not in (await vault.policies.rulebook()).retention:
            await vault.policies.save_retention_policy(Call(SYSTEM, secrets.token_hex(16)), DEV_POLICY)
        print(_dev_welcome(key, address), flush=True)

    await _run_server(settings, lambda: settings, set_policy)


def _make_signing_key_once(settings: Settings) -> None:
    """Make the key that signs for development, where the settings use it and it is not there."""
    if settings.audit.signing_key_file == str(SIGNING_KEY_FILE) and not SIGNING_KEY_FILE.exists():
        write_key(SIGNING_KEY_FILE, SigningKey.generate(DEV_ORIGIN))


def _dev_settings(key: str) -> Settings:
    settings = load_settings(None)
    if settings.server.listen_addr.rpartition(":")[0] not in DEV_HOSTS:
        raise SettingsInvalid(f"--dev: expected a loopback address, found {settings.server.listen_addr!r}")
    admin = ApiKeySettings(
        app=settings.auth.api_key_app,
        key_sha256=digest_of(key),
        purposes=("*",),
        roles=("admin",),
    )
    auth = settings.auth.model_copy(update={"api_key_env": None, "api_keys": (*settings.auth.api_keys, admin)})
    text = settings.logging.model_copy(update={"format": "text"})
    docs = settings.docs.model_copy(update={"require_auth": False})
    audit = settings.audit
    if audit.signing_key_file is None and audit.signing_key_env is None:
        audit = audit.model_copy(update={"signing_key_file": str(SIGNING_KEY_FILE)})
    return settings.model_copy(update={"auth": auth, "logging": text, "docs": docs, "audit": audit})


def _dev_welcome(key: str, address: str) -> str:
    return f"""
  vsql-vault {__version__}, for development, on http://{address}

  Your key for this run, shown once:  {key}

  Store a blob, and read it back:

    curl -X PUT http://{address}/vault/card/payment-1 \\
      -H 'X-Vault-Key: {key}' -H 'Content-Type: application/json' \\
      -d '{{"encrypted_value": "vault:v1:base64ciphertext", "key_ref": "my-key-v1"}}'

    curl http://{address}/vault/card/payment-1 -H 'X-Vault-Key: {key}'

  Everything it can do:  http://{address}/docs
"""


async def _run_server(
    settings: Settings,
    load: Callable[[], Settings],
    ready: Callable[[Vault, str], Awaitable[None]] | None = None,
    listener: socket.socket | None = None,
    share: Share | None = None,
    config: Path | None = None,
    lockdown: Lockdown | None = None,
) -> None:
    """Serve until told to end. A process without a ``lockdown`` locks itself in, once all is read and imported."""
    from vsqlvault.http.forwarding import Forwarding  # noqa: PLC0415
    from vsqlvault.http.server import listen, serve  # noqa: PLC0415 - only serving needs Quart, and it takes long to import
    from vsqlvault.http.signals import Signals  # noqa: PLC0415
    from vsqlvault.http.tls import Tls  # noqa: PLC0415

    signals = Signals()
    tls = Tls(settings.server) if settings.server.tls else None
    forwarding = Forwarding(settings.server)
    plugins = Plugins(settings)
    locked = lockdown or harden(plugins, config)
    async with AsyncExitStack() as stack:
        vault = await stack.enter_async_context(open_vault(settings, plugins=plugins, hardening=locked.states))
        listener = listener or stack.enter_context(listen(settings.server.listen_addr))
        address = _address(settings, listener.getsockname()[1])
        await stack.enter_async_context(following(vault))
        await stack.enter_async_context(sequencing(vault))
        await stack.enter_async_context(sweeping(vault, settings.purge.sweep_interval_hours))
        if tls:
            vault.controls.checks.certificates = lambda: tls.until
        await stack.enter_async_context(watching(vault, attest=settings.compliance.attest_automatically))

        def load_within_reach() -> Settings:
            settings = load()
            check_reach(plugins, locked, settings)
            return settings

        async def announce() -> None:
            _announce(settings, vault, address)
            if ready:
                await ready(vault, address)

        await serve(
            settings,
            vault,
            listener,
            load_within_reach,
            signals,
            ready=announce,
            forwarding=forwarding,
            tls=tls,
            share=share,
        )
        log.info("stopped")


def _address(settings: Settings, port: int) -> str:
    return f"{settings.server.listen_addr.rpartition(':')[0]}:{port}"


def _announce(settings: Settings, vault: Vault, address: str) -> None:
    """Say what runs as what, where, on what, with which plugins; and what of it is dangerous."""
    log.info(
        "Vault API is running",
        extra={
            "version": __version__,
            "listen_addr": address,
            "storage": dict(vault.describe_storage()),
            "plugins": [f"{each.name} ({each.distribution} {each.version})" for each in vault.plugins],
        },
    )
    log.info("process hardening", extra={step.name: str(step) for step in vault.hardening})
    if given_up := [name for name, switch in settings.hardening if switch == "off"]:
        log.warning("hardening is switched off by the settings", extra={"steps": given_up})
    if vault.sequencer.verifier is None:
        log.warning("no signing key is set: the transparency log has no checkpoints (vsql-vault keygen --signing)")
    else:
        log.info("the transparency log is signed", extra={"verifier_key": str(vault.sequencer.verifier)})
    if settings.audit.unsafe_previous_key_lost:
        log.warning("audit.unsafe_previous_key_lost: nobody can tell a lost key from one that was put aside")
    if settings.server.plaintext == "any":
        log.warning("server.plaintext is any: credentials and ciphertext cross the network unencrypted")
    variable = settings.auth.api_key_env
    if variable and (key := os.environ.get(variable)) and len(key) < SHORT_KEY:
        log.warning(
            "the bootstrap key is short enough to be guessed: make one with vsql-vault keygen",
            extra={"variable": variable},
        )
    auth = settings.auth
    others = auth.jwt or auth.mtls or vault.credentials.known()
    if not auth.api_keys and not others and not (variable and os.environ.get(variable)):
        log.warning("no API key is set: nobody can call", extra={"variable": variable})


def _migrate(options: argparse.Namespace) -> None:
    status = asyncio.run(_migrated(Plugins(_settings(options))))
    done = "nothing to do" if status.before == status.after else f"from version {status.before}"
    print(f"schema version {status.after}: {done}")


async def _migrated(plugins: Plugins) -> MigrationStatus:
    storage = await open_storage(plugins)
    try:
        return await storage.migrate()
    finally:
        await storage.close()


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
    plugins = _check(_settings(options))
    print(f"{options.config or 'the defaults'}: all is well, with {len(plugins.origins)} plugins")


def _check(settings: Settings) -> Plugins:
    """Build all that settings ask for, short of the storage, and return the plugins. Raises StartUpRefused."""
    from vsqlvault.http.forwarding import Forwarding  # noqa: PLC0415 - only serving needs it
    from vsqlvault.http.tls import Tls  # noqa: PLC0415

    plugins = Plugins(settings)
    if settings.server.tls:
        Tls(settings.server)
    Forwarding(settings.server)
    load_signing(settings.audit)
    for hook, kind in (
        ("vault_authenticators", "authenticator"),
        ("vault_access_policies", "policy evaluator"),
        ("vault_purge_methods", "purge method"),
        ("vault_report_sections", "report section"),
    ):
        plugins.offers(hook, kind)
    return plugins
