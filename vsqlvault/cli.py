"""``vsql-vault``: serving a vault, and what an operator does beside it."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsqlvault import __version__
from vsqlvault.config import ApiKeySettings, Settings, load_settings
from vsqlvault.errors import SettingsInvalid, StartUpRefused, StorageUnavailable, VaultError
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault.log_format import set_up_logging
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.plugin_manager import Plugins
from vsqlvault.runtime import open_storage, open_vault, sweeping
from vsqlvault.service.sweeper import SweepCount
from vsqlvault.service.vault import Vault

if TYPE_CHECKING:
    from vsqlvault.http.shared_metrics import Share

log = logging.getLogger("vsqlvault")
DEV_HOSTS = ("127.0.0.1", "[::1]", "localhost")
DEV_POLICY = RetentionPolicy("card", 0, 365, 90, "physical-delete", "Card tokens: at most 1 year, by default 90 days")
BAD_SETTINGS = 2
SHORT_KEY = 22
WORKERS_END_SECONDS = 15.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 settings or plugins that cannot be used."""
    options = _parser().parse_args(arguments)
    return _exit_code(lambda: options.run(options))


def _exit_code(run: Callable[[], object]) -> int:
    try:
        run()
    except StartUpRefused as error:
        print(f"vsql-vault: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except StorageUnavailable as error:
        print(f"vsql-vault: storage.database_url: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except VaultError as error:
        print(f"vsql-vault: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return 0


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
    sweep.add_argument("--dry-run", action="store_true", help="only count; nothing is purged")
    add("report", _report, "print the compliance report as JSON")
    add("plugins", _plugins, "list the plugins that would be loaded, and where they come from")
    keygen = add("keygen", _keygen, "make an API key and the settings for it")
    keygen.add_argument("--app", required=True, metavar="NAME", help="the app that the key is for")
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
        asyncio.run(_run_server(settings, load_again))
    else:
        _serve_with_workers(settings, load_again)


def _serve_with_workers(settings: Settings, load: Callable[[], Settings]) -> None:
    """Look at storage and plugins once, take the port, and have it served by several processes."""
    from vsqlvault.http.server import listen  # noqa: PLC0415 - only serving needs Quart, and it takes long to import
    from vsqlvault.http.shared_metrics import Share, SharedSamples  # noqa: PLC0415
    from vsqlvault.http.workers import Workers  # noqa: PLC0415

    asyncio.run(_migrated(Plugins(settings)))
    shared = SharedSamples(settings.server.workers)
    in_force = settings
    with listen(settings.server.listen_addr) as listener:

        def work(slot: int) -> int:
            return _exit_code(
                lambda: asyncio.run(_run_server(in_force, load, listener=listener, share=Share(shared, slot)))
            )

        def look_again() -> None:
            """Have workers that start from now on begin with what the others are reading, where that can be used."""
            nonlocal in_force
            try:
                fresh = load()
                _check(fresh)
            except StartUpRefused:
                return  # each worker says so
            in_force = fresh

        ends_within = settings.server.graceful_timeout_seconds + WORKERS_END_SECONDS
        Workers(settings.server.workers, work, ends_within, shared.retire, look_again).run()


async def _serve_dev() -> None:
    """Serve ``vault.db`` in this directory with a key made for this run; the key is shown once, to whoever started it."""
    key = f"vsk_{secrets.token_urlsafe(32)}"
    settings = _dev_settings(key)
    set_up_logging(settings.logging.format, settings.logging.level)

    async def set_policy(vault: Vault, address: str) -> None:
        if "card" not in (await vault.policies.rulebook()).retention:
            await vault.policies.save_retention_policy(Call(SYSTEM, secrets.token_hex(16)), DEV_POLICY)
        print(_dev_welcome(key, address), flush=True)

    await _run_server(settings, lambda: settings, set_policy)


def _dev_settings(key: str) -> Settings:
    settings = load_settings(None)
    if settings.server.listen_addr.rpartition(":")[0] not in DEV_HOSTS:
        raise SettingsInvalid(f"--dev: expected a loopback address, found {settings.server.listen_addr!r}")
    admin = ApiKeySettings(
        app=settings.auth.api_key_app,
        key_sha256=hashlib.sha256(key.encode("ascii")).hexdigest(),
        purposes=("*",),
        roles=("admin",),
    )
    auth = settings.auth.model_copy(update={"api_key_env": None, "api_keys": (*settings.auth.api_keys, admin)})
    text = settings.logging.model_copy(update={"format": "text"})
    docs = settings.docs.model_copy(update={"require_auth": False})
    return settings.model_copy(update={"auth": auth, "logging": text, "docs": docs})


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
) -> None:
    from vsqlvault.http.server import listen, serve  # noqa: PLC0415 - only serving needs Quart, and it takes long to import
    from vsqlvault.http.signals import Signals  # noqa: PLC0415
    from vsqlvault.http.tls import Tls  # noqa: PLC0415

    signals = Signals()
    tls = Tls(settings.server) if settings.server.tls else None
    async with AsyncExitStack() as stack:
        vault = await stack.enter_async_context(open_vault(settings))
        listener = listener or stack.enter_context(listen(settings.server.listen_addr))
        address = _address(settings, listener.getsockname()[1])
        await stack.enter_async_context(sweeping(vault, settings.purge.sweep_interval_hours))

        async def reload() -> Settings:
            settings = load()
            await vault.reloading.reload(settings)
            return settings

        async def announce() -> None:
            _announce(settings, vault, address)
            if ready:
                await ready(vault, address)

        await serve(settings, vault, listener, reload, signals, ready=announce, tls=tls, share=share)
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
    if settings.server.plaintext == "any":
        log.warning("server.plaintext is any: credentials and ciphertext cross the network unencrypted")
    variable = settings.auth.api_key_env
    if variable and (key := os.environ.get(variable)) and len(key) < SHORT_KEY:
        log.warning(
            "the bootstrap key is short enough to be guessed: make one with vsql-vault keygen",
            extra={"variable": variable},
        )
    if not settings.auth.api_keys and not (variable and os.environ.get(variable)):
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
    def progress(count: SweepCount) -> None:
        if sys.stderr.isatty():
            print(f"\r{count.purged} purged", end="", file=sys.stderr, flush=True)

    async def run() -> SweepCount:
        async with open_vault(_settings(options)) as vault:
            return await vault.sweeper.sweep(
                Call(SYSTEM, secrets.token_hex(16)), dry_run=options.dry_run, trigger="command", progress=progress
            )

    count = asyncio.run(run())
    verb = "would be purged" if count.dry_run else "purged"
    for purpose, number in sorted(count.by_purpose.items()):
        print(f"{purpose}: {number} {verb}")
    print(f"{count.purged} {verb}, {count.failed} could not be purged and were kept")
    if count.held:
        print(f"{count.held} are kept by legal holds")


def _report(options: argparse.Namespace) -> None:
    async def run() -> dict[str, Any]:
        async with open_vault(_settings(options)) as vault:
            return await vault.report.write(Call(SYSTEM, secrets.token_hex(16)))

    print(json.dumps(asyncio.run(run()), indent=2, ensure_ascii=False))


def _plugins(options: argparse.Namespace) -> None:
    for origin in Plugins(_settings(options)).origins:
        print(f"{origin.name:<24} {origin.distribution} {origin.version}")


def _keygen(options: argparse.Namespace) -> None:
    key = f"vsk_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode("ascii")).hexdigest()
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


def _check_config(options: argparse.Namespace) -> None:
    plugins = _check(_settings(options))
    print(f"{options.config or 'the defaults'}: all is well, with {len(plugins.origins)} plugins")


def _check(settings: Settings) -> Plugins:
    """Build all that settings ask for, short of the storage, and return the plugins. Raises StartUpRefused."""
    from vsqlvault.http.tls import Tls  # noqa: PLC0415 - only serving needs it

    plugins = Plugins(settings)
    if settings.server.tls:
        Tls(settings.server)
    for hook, kind in (
        ("vault_authenticators", "authenticator"),
        ("vault_access_policies", "policy evaluator"),
        ("vault_purge_methods", "purge method"),
        ("vault_report_sections", "report section"),
    ):
        plugins.offers(hook, kind)
    return plugins
