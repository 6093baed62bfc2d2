"""``vsql-vault migrate``, ``plugins`` and ``check-config``: the schema, the plugins and the settings of an installation."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable

from vsqlvault.cli.output import add_json, print_json, print_rows
from vsqlvault.cli.serve import check, check_storage
from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid, StorageUnavailable
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import migrated, planned, run_to_end, storage_of

ReadSettings = Callable[[argparse.Namespace], Settings]
MAX_WAIT_SECONDS = 3600
RETRY_SECONDS = 1.0
"""The time between two attempts to reach a storage that does not answer yet."""


def seconds(text: str) -> int:
    """Return a number of seconds, at most an hour. Raises ArgumentTypeError."""
    if text.isascii() and text.isdigit() and int(text) <= MAX_WAIT_SECONDS:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number of seconds from 0 to {MAX_WAIT_SECONDS}, found {text!r}")


def add_migrate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``migrate``."""
    parser.add_argument("--plan", action="store_true", help="only print the steps of the migration")
    parser.add_argument(
        "--create-database-as", metavar="ROLE", help="first create role and database if they do not exist, as this role"
    )
    parser.add_argument(
        "--wait",
        type=seconds,
        default=0,
        metavar="SECONDS",
        help="how long to wait for a storage that does not answer yet (default: 0)",
    )
    add_json(parser)


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``check-config``."""
    parser.add_argument("--connect", action="store_true", help="also open the storage, and compare its schema")
    add_json(parser)


def migrate(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Migrate the schema, or print the steps. Raises StartUpRefused, StorageUnavailable."""
    plugins = Plugins(read_settings(options))
    if options.plan and options.create_database_as:
        raise SettingsInvalid("--create-database-as: expected no --plan beside it, because it changes the server")
    status = run_to_end(_migration(plugins, options))
    if options.json:
        print_json(status)
        return
    is_done = status.before == status.after and not status.steps
    done = "nothing to do" if is_done else f"from version {status.before}"
    print(f"schema version {status.after}: {done}")
    for step in status.steps:
        print(f"  would run {step}" if options.plan else f"  ran {step}")


async def _migration(plugins: Plugins, options: argparse.Namespace) -> MigrationStatus:
    """Create the database if that is asked for, and migrate, once the storage answers. Raises as ``migrate``."""
    deadline = asyncio.get_running_loop().time() + options.wait
    while True:
        try:
            if options.create_database_as:
                url = plugins.settings.storage.database_url
                await storage_of(plugins).create_database(url, options.create_database_as)
            return await (planned(plugins, creates=False) if options.plan else migrated(plugins))
        except StorageUnavailable:
            if asyncio.get_running_loop().time() >= deadline:
                raise
        await asyncio.sleep(RETRY_SECONDS)


def list_plugins(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Print the plugins that the settings load. Raises StartUpRefused."""
    print_rows(("name", "distribution", "version"), Plugins(read_settings(options)).origins, as_json=options.json)


def check_config(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Validate the settings and load the plugins. Raises StartUpRefused, StorageUnavailable."""
    plugins = check(read_settings(options))
    status = check_storage(plugins) if options.connect else None
    if options.json:
        source = str(options.config) if options.config else None
        print_json({"valid": True, "config": source, "plugins": len(plugins.origins), "schema": status})
        return
    print(f"{options.config or 'default settings'}: valid, {len(plugins.origins)} plugins")
    if status:
        print(f"the storage is reachable, its schema has version {status.before}, this program needs {status.after}")
