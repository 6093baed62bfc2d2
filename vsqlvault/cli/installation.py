"""``vsql-vault migrate``, ``plugins`` and ``check-config``: the schema, the plugins and the settings of an installation."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from vsqlvault.cli.output import add_json, print_json, print_rows
from vsqlvault.cli.serve import check, check_storage
from vsqlvault.config import Settings
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import migrated, planned, run_to_end

ReadSettings = Callable[[argparse.Namespace], Settings]


def add_migrate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``migrate``."""
    parser.add_argument("--plan", action="store_true", help="only print the steps of the migration")
    add_json(parser)


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``check-config``."""
    parser.add_argument("--connect", action="store_true", help="also open the storage, and compare its schema")
    add_json(parser)


def migrate(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Migrate the schema, or print the steps. Raises StartUpRefused, StorageUnavailable."""
    plugins = Plugins(read_settings(options))
    status = run_to_end(planned(plugins) if options.plan else migrated(plugins))
    if options.json:
        print_json(status)
        return
    is_done = status.before == status.after and not status.steps
    done = "nothing to do" if is_done else f"from version {status.before}"
    print(f"schema version {status.after}: {done}")
    for step in status.steps:
        print(f"  would run {step}" if options.plan else f"  ran {step}")


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
