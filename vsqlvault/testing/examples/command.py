"""Adds ``vsql-vault example``, which prints where the server listens."""

import sys
from argparse import ArgumentParser, Namespace

from vsqlvault.config import Settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.command import VaultCommand


class ExampleCommand(VaultCommand):
    """Prints an address."""

    name = "example"
    help = "print the address that the server listens on"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ``--url``."""
        parser.add_argument("--url", action="store_true", help="as a URL")

    def run(self, options: Namespace, settings: Settings) -> int:
        """Print the address."""
        sys.stdout.write(f"{'https://' if options.url else ''}{settings.server.listen_addr}\n")
        return 0


@hookimpl
def vault_commands() -> list[VaultCommand]:
    """Offer the command."""
    return [ExampleCommand()]
