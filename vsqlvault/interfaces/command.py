"""A subcommand of ``vsql-vault`` that a plugin adds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Protocol

from vsqlvault.config import Settings


class VaultCommand(Protocol):
    """One subcommand: ``vsql-vault NAME``."""

    name: str
    """Lower-case words with hyphens, such as ``check-token``; unique among all commands."""

    help: str
    """One line for ``vsql-vault --help``."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the command's own arguments. Default: it has none."""
        del parser

    def run(self, options: Namespace, settings: Settings) -> int:
        """Run the command and return its exit code: 0 done, 1 failed.

        ``settings`` are checked, with the tables of all plugins. The storage is not open.

        Raises:
            VaultError: its message is printed; the exit code is 1, and 2 for SettingsInvalid.
        """
        ...
