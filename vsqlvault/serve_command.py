"""``vsql-vault serve``: one process or several, or ``--dev``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from vsqlvault import __version__
from vsqlvault.config import ApiKeySettings, Settings, load_settings
from vsqlvault.errors import SettingsInvalid, StartUpRefused
from vsqlvault.exit_codes import exit_code
from vsqlvault.hardening.lockdown import Lockdown
from vsqlvault.log_format import set_up_logging
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.plugin_manager import Plugins
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import check_reach, following, harden, migrated, open_vault, sequencing, sweeping, watching
from vsqlvault.service.api_keys import digest_of, new_secret
from vsqlvault.service.signing_keys import load_signing, write_key
from vsqlvault.service.vault import Vault

if TYPE_CHECKING:
    from vsqlvault.http.shared_metrics import Share

log = logging.getLogger("vsqlvault")
DEV_HOSTS = ("127.0.0.1", "[::1]", "localhost")
DEV_POLICY = RetentionPolicy("card", 0, 365, 90, "physical-delete", "Card tokens: at most 1 year, by default 90 days")
SHORT_KEY = 22
WORKERS_END_SECONDS = 15.0
SIGNING_KEY_FILE = Path("vault-signing.key")
DEV_ORIGIN = "localhost/vsqlvault-dev"


def serve(options: argparse.Namespace, read: Callable[[argparse.Namespace], Settings]) -> None:
    """Serve until told to end: as the options say, or with the settings of ``--dev``. Raises StartUpRefused."""
    from vsqlvault.http.signals import hold_hang_ups  # noqa: PLC0415

    hold_hang_ups()
    if options.dev:
        if options.config is not None:
            raise SettingsInvalid("--dev: expected no --config, for it brings its own settings")
        asyncio.run(_serve_dev())
        return
    settings = read(options)

    def load_again() -> Settings:
        return load_settings(options.config)

    if settings.server.workers == 1:
        asyncio.run(_run_server(settings, load_again, config=options.config))
    else:
        _serve_with_workers(settings, load_again, options.config)


def check(settings: Settings) -> Plugins:
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


def _serve_with_workers(settings: Settings, load: Callable[[], Settings], config: Path | None) -> None:
    """Look at storage and plugins once, take the port, and have it served by several processes."""
    from vsqlvault.http.server import listen  # noqa: PLC0415 - only serving needs Quart, and it takes long to import
    from vsqlvault.http.shared_metrics import Share, SharedSamples  # noqa: PLC0415
    from vsqlvault.http.workers import Workers  # noqa: PLC0415

    plugins = Plugins(settings)
    lockdown = harden(plugins, config)
    asyncio.run(migrated(plugins))
    shared = SharedSamples(settings.server.workers)
    in_force = settings
    with listen(settings.server.listen_addr) as listener:

        def work(slot: int) -> int:
            return exit_code(lambda: asyncio.run(run(slot)))

        async def run(slot: int) -> None:
            own = lockdown.in_child(settings.hardening)
            await _run_server(in_force, load, listener=listener, share=Share(shared, slot), lockdown=own)

        def look_again() -> None:
            """Have workers that start from now on begin with what the others are reading, where that can be used."""
            nonlocal in_force
            try:
                fresh = load()
                check_reach(plugins, lockdown, fresh)
                check(fresh)
            except StartUpRefused:
                return  # each worker says so
            in_force = fresh

        ends_within = settings.server.graceful_timeout_seconds + WORKERS_END_SECONDS
        Workers(settings.server.workers, work, ends_within, shared.retire, look_again).run()


async def _serve_dev() -> None:
    """Serve ``vault.db`` in this directory with a key made for this run; the key is shown once, to whoever started it."""
    key = new_secret()
    settings = dev_settings(key)
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


def dev_settings(key: str) -> Settings:
    """Return the settings of ``--dev``: the environment's, with this key. Raises SettingsInvalid."""
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
