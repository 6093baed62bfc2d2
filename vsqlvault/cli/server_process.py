"""One server process, from settings to shutdown."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsqlvault import __version__
from vsqlvault.cli.undefined_names import undefined_names
from vsqlvault.config import Settings
from vsqlvault.errors import VaultError
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import (
    background,
    check_reach,
    harden,
    loop_name,
    open_vault,
    return_large_blocks,
    run_to_end,
    server_loop,
)
from vsqlvault.sandbox.sandbox import Sandbox
from vsqlvault.service.vault import Vault

if TYPE_CHECKING:
    from vsqlvault.http.metrics.workers import Share


log = logging.getLogger("vsqlvault")


SHORT_KEY = 22


def serve_alone(
    settings: Settings,
    load: Callable[[], Settings],
    ready: Callable[[Vault, str], Awaitable[None]] | None = None,
    *,
    listener: socket.socket,
    config: Path | None = None,
) -> None:
    """Serve with one process, until SIGTERM or SIGINT. The sandbox is in force before the event loop is made."""
    from vsqlvault.http.serving import serve  # noqa: F401, PLC0415 - it is imported before the sandbox

    loop_factory = server_loop(has_tls=settings.server.tls is not None)
    plugins = Plugins(settings)
    sandbox = harden(plugins, config)
    server = run_server(settings, load, ready, listener=listener, config=config, plugins=plugins, sandbox=sandbox)
    run_to_end(server, loop_factory)


async def run_server(
    settings: Settings,
    load: Callable[[], Settings],
    ready: Callable[[Vault, str], Awaitable[None]] | None = None,
    *,
    listener: socket.socket,
    plugins: Plugins,
    sandbox: Sandbox,
    share: Share | None = None,
    config: Path | None = None,
    worker: int = 0,
) -> None:
    """Serve until SIGTERM or SIGINT, in a process that the sandbox was applied to."""
    from vsqlvault.http.forwarding import Forwarding  # noqa: PLC0415
    from vsqlvault.http.server.signals import Signals  # noqa: PLC0415
    from vsqlvault.http.server.tls import Tls  # noqa: PLC0415
    from vsqlvault.http.serving import serve  # noqa: PLC0415

    return_large_blocks()
    signals = Signals()
    tls = Tls(settings.server) if settings.server.tls else None
    forwarding = Forwarding(settings.server)
    async with AsyncExitStack() as stack:
        try:
            async with _cancelled_by(signals.stopping):
                vault = await stack.enter_async_context(open_vault(settings, plugins=plugins, hardening=sandbox.states))
                await stack.enter_async_context(background(vault, settings))
                await stack.enter_async_context(vault.audit.process_log.running(_server(settings), worker))
        except _StartEnded:
            log.info("stopped before anything was served")
            return
        address = _address(settings, listener.getsockname()[1])
        if tls:
            vault.compliance.controls.checks.certificates = lambda: tls.until

        def load_within_reach() -> Settings:
            settings = load()
            check_reach(plugins, sandbox, settings)
            return settings

        async def announce() -> None:
            _announce(settings, vault, address, config)
            await _warn_of_undefined_names(vault)
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


class _StartEnded(Exception):
    """A signal ended the start."""


@asynccontextmanager
async def _cancelled_by(stopping: asyncio.Event) -> AsyncIterator[None]:
    """Cancel the block once the event is set: a migration, or a storage that does not answer, may take long.

    Raises:
        _StartEnded: the block was cancelled.
    """
    task, is_over = asyncio.current_task(), False

    def cancel(watch: asyncio.Task[Any]) -> None:
        if task is not None and not is_over and not watch.cancelled():
            task.cancel()

    watch = asyncio.create_task(stopping.wait())
    watch.add_done_callback(cancel)
    try:
        yield
    except asyncio.CancelledError:
        if task is None or not stopping.is_set():
            raise
        task.uncancel()
        raise _StartEnded from None
    finally:
        is_over = True
        watch.cancel()


def _server(settings: Settings) -> str | None:
    """Return a name that the next start of this server has, too; None for a port that the system chooses."""
    host, _, port = settings.server.listen_addr.rpartition(":")
    return None if port == "0" else f"{socket.gethostname()} {host}:{port}"


def _address(settings: Settings, port: int) -> str:
    return f"{settings.server.listen_addr.rpartition(':')[0]}:{port}"


def _announce(settings: Settings, vault: Vault, address: str, config: Path | None) -> None:
    """Log the version, address, storage and plugins, and warn of unsafe settings."""
    described = vault.describe_storage()
    storage = {name: described[name] for name in ("product", "version", "schema_version") if name in described}
    log.info(
        "Vault API is running",
        extra={
            "version": __version__,
            "listen_addr": address,
            "storage": storage,
            "event_loop": loop_name(),
        },
    )
    log.info(
        "settings", extra={"file": str(config) if config else "none", "directory": str(settings.directory.absolute())}
    )
    log.info("plugins loaded", extra={"plugins": _by_distribution(vault.plugins)})
    has_details = settings.logging.format == "json"
    log.info(
        "process hardening", extra={step.name: str(step) if has_details else step.state for step in vault.hardening}
    )
    if given_up := [name for name, switch in settings.hardening if switch == "off"]:
        log.warning("hardening steps are disabled by the settings", extra={"steps": given_up})
    if vault.log.sequencer.verifier is None:
        log.warning("no signing key is set: the transparency log has no checkpoints (vsql-vault keygen --signing)")
    else:
        log.info("the transparency log is signed", extra={"verifier_key": str(vault.log.sequencer.verifier)})
    if durability_warning := vault.describe_storage().get("durability_warning"):
        log.warning("acknowledged commits may be lost", extra={"warning": durability_warning})
    if settings.audit.unsafe_previous_key_lost:
        log.warning("audit.unsafe_previous_key_lost is set: the key change is not signed by the previous key")
    if settings.server.plaintext == "any":
        log.warning("server.plaintext is any: credentials and ciphertext are sent over the network unencrypted")
    if settings.server.tls is None and settings.server.plaintext == "loopback" and not _is_loopback(address):
        log.warning(
            "server.listen_addr is reachable from other machines, but without [server.tls] only clients on this machine are"
            ' served; others get 403 tls-required: configure [server.tls], or set server.plaintext = "any" behind a proxy'
            " that terminates TLS"
        )
    variable = settings.auth.api_key_env
    if variable and (key := os.environ.get(variable)) and len(key) < SHORT_KEY:
        log.warning(
            "the bootstrap key is short enough to be guessed: generate one with vsql-vault keygen",
            extra={"variable": variable},
        )
    if not any(authenticator.is_in_use for authenticator in vault.credentials.authenticators):
        log.warning("there is no credential: every request will be rejected", extra={"variable": variable})


async def _warn_of_undefined_names(vault: Vault) -> None:
    """Log names that are probably misspelled. A storage that fails here delays no start."""
    with suppress(VaultError):
        rules = await vault.rules.policies.policy_snapshot()
        known = vault.credentials.inventory.known()
        has_unlisted_apps = vault.credentials.inventory.known_apps() is None
        names = undefined_names(
            rules,
            known,
            has_unlisted_apps=has_unlisted_apps,
            evaluators=vault.rules.policies.evaluator_names,
            purge_methods=vault.rules.policies.purge_method_names,
        )
        if names:
            log.warning("names that nothing defines: check their spelling", extra={"names": names})


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _by_distribution(plugins: Iterable[PluginOrigin]) -> dict[str, str]:
    """Return the names of the plugins of each distribution."""
    found: dict[str, list[str]] = {}
    for each in plugins:
        found.setdefault(f"{each.distribution} {each.version}".replace(" ", "-"), []).append(each.name)
    return {distribution: ",".join(names) for distribution, names in found.items()}
