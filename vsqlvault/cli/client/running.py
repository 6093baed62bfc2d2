"""Runs a command against the vault that the environment or a profile names."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from vsqlvault.cli.client import entries, logs, rules
from vsqlvault.cli.client.exit_codes import exit_code
from vsqlvault.client import Hooks, Vault

_MODULES = {"entries": entries, "rules": rules, "logs": logs}


def run(options: argparse.Namespace) -> int:
    """Run the command of the options and return its exit code."""
    module, _, name = options.handler.partition(".")
    handler: Callable[..., None] = getattr(_MODULES[module], name)

    def called() -> None:
        own = logs.OwnRequests()
        more: tuple[Any, ...] = (own,) if module == "logs" else ()
        with Vault.from_environment(options.profile, hooks=Hooks(after=own)) as vault:
            handler(vault, options, *more)

    return exit_code(called)
