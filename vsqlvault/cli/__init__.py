"""The vsql-vault command."""

from vsqlvault.cli.parser import main

__all__ = ["main"]
