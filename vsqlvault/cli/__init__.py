"""The vsql-vault command."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from vsqlvault.cli.client import commands

__all__ = ["main"]

COLLECT_AFTER = 10_000
"""New objects until a garbage collection. Python's 700 cost a start hundreds of collections that find nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Commands that call a vault do not import the server."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in commands.COMMANDS:
        return commands.main(words)
    if arguments is None:
        gc.set_threshold(COLLECT_AFTER)
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # its search reads every installed distribution
    from vsqlvault.cli import parser  # noqa: PLC0415 - it imports the server

    return parser.main(words)
