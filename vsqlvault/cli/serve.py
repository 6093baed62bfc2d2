"""``vsql-vault serve``: starts one server process or several, or the ``--dev`` server."""

from __future__ import annotations

import argparse
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from vsqlvault.cli.dev import serve_dev
from vsqlvault.cli.exit_codes import exit_code
from vsqlvault.cli.server_process import run_server, serve_alone
from vsqlvault.cli.starting import bound
from vsqlvault.config import Settings, load_settings
from vsqlvault.errors import SettingsInvalid, StartUpRefused
from vsqlvault.hookspecs import OFFERS
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import check_reach, harden, log_sinks, migrated, planned, run_to_end, server_loop, storage_of
from vsqlvault.sandbox.environment import overwrite_variables
from vsqlvault.service.log.signing_keys import load_signing

log = logging.getLogger("vsqlvault")
WORKERS_END_SECONDS = 15.0


def serve(options: argparse.Namespace, read: Callable[[argparse.Namespace], Settings]) -> None:
    """Serve until SIGTERM or SIGINT, with the settings of the options or of ``--dev``. Raises StartUpRefused."""
    from vsqlvault.http.server.signals import hold_hang_ups  # noqa: PLC0415

    hold_hang_ups()
    if options.dev:
        if options.config is not None:
            raise SettingsInvalid("--dev: expected no --config, because --dev has its own settings")
        serve_dev(options.listen, options.key)
        return
    if options.listen is not None or options.key is not None:
        raise SettingsInvalid(
            "--listen, --key: expected --dev beside them; without it, server.listen_addr and auth decide"
        )
    is_named = options.config is not None
    settings = read(options)
    settings.auth.check_secrets(os.environ)
    overwrite_variables(settings.secret_variables)
    if options.config is not None and not is_named:
        log.info("settings are read from the current directory", extra={"file": str(options.config)})

    def load_again() -> Settings:
        fresh = load_settings(options.config)
        fresh.auth.check_secrets(os.environ)
        return fresh

    with bound(settings) as listener:
        if settings.server.workers == 1:
            serve_alone(settings, load_again, listener=listener, config=options.config)
        else:
            _serve_with_workers(settings, load_again, listener, options.config)


def check(settings: Settings) -> Plugins:
    """Build everything in the settings except the storage, and return the plugins. Raises StartUpRefused."""
    from vsqlvault.http.forwarding import Forwarding  # noqa: PLC0415 - only serving needs it
    from vsqlvault.http.server.tls import Tls  # noqa: PLC0415

    settings.auth.check_secrets(os.environ)
    plugins = Plugins(settings)
    if settings.server.tls:
        Tls(settings.server)
    Forwarding(settings.server)
    load_signing(settings.audit, default_file=settings.default_signing_key_file)
    for hook in OFFERS:
        plugins.offers(hook)
    for sink in log_sinks(plugins):
        sink.open()
    storage_of(plugins)
    return plugins


def check_storage(plugins: Plugins) -> MigrationStatus:
    """Open the storage, leave its schema unchanged, and return what a migration would do.

    Raises:
        StartUpRefused, StorageUnavailable: naming the setting.
    """
    return run_to_end(planned(plugins, creates=False))


def _serve_with_workers(
    settings: Settings, load: Callable[[], Settings], listener: socket.socket, config: Path | None
) -> None:
    """Check storage and plugins once, and serve the port with several processes."""
    from vsqlvault.http.metrics.workers import Share, SharedSamples  # noqa: PLC0415
    from vsqlvault.http.server.workers import Workers  # noqa: PLC0415

    plugins = Plugins(settings)
    sandbox = harden(plugins, config)
    run_to_end(migrated(plugins, at_start=True))
    shared = SharedSamples(settings.server.workers)
    loop_factory = server_loop(has_tls=settings.server.tls is not None)
    in_force = settings

    def work(slot: int) -> int:
        return exit_code(lambda: run_to_end(run(slot), loop_factory))

    async def run(slot: int) -> None:
        own = sandbox.in_child(settings.hardening)
        await run_server(
            in_force,
            load,
            listener=listener,
            share=Share(shared, slot),
            plugins=Plugins(in_force),
            sandbox=own,
            worker=slot,
        )

    def look_again() -> None:
        """Let replaced workers start with the reloaded settings, if these are valid."""
        nonlocal in_force
        try:
            fresh = load()
            check_reach(plugins, sandbox, fresh)
            check(fresh)
        except StartUpRefused:
            return  # each worker logs it
        in_force = fresh

    ends_within = settings.server.seconds_to_end + WORKERS_END_SECONDS
    Workers(settings.server.workers, work, ends_within, shared.retire, look_again).run()
