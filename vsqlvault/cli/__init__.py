"""The vsql-vault command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vsqlvault.cli.client import commands

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Commands that call a vault do not import the server."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in commands.COMMANDS:
        return commands.main(words)
    from vsqlvault.cli import parser  # noqa: PLC0415 - it imports the server

    return parser.main(words)
