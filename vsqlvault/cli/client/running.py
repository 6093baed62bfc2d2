"""Runs a command against the vault that the environment or a profile names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from vsqlvault.cli.client import entries, logs, rules
from vsqlvault.cli.client.exit_codes import exit_code
from vsqlvault.client import Attempt, Hooks, Vault
from vsqlvault.client.environment import read_access
from vsqlvault.client.errors import Unreachable, Unusable

_MODULES = {"entries": entries, "rules": rules, "logs": logs}
NO_CREDENTIAL = (
    "set VSQL_VAULT_KEY to an API key, or VSQL_VAULT_TOKEN, VSQL_VAULT_CLIENT_CERT or a profile: there is no credential"
)


class Watch:
    """Takes each attempt to call the vault: says once that there is no connection, so that the pauses are not silent."""

    def __init__(self, address: str, then: Callable[[Attempt], None], *, is_quiet: bool) -> None:
        self._address = address
        self._then = then
        self._is_silent = is_quiet

    def __call__(self, attempt: Attempt) -> None:
        """Take an attempt."""
        if attempt.error and attempt.pause_seconds is not None and not self._is_silent:
            self._is_silent = True
            print(
                f"vsql-vault: {attempt.error} at {self._address}: trying again for a while", file=sys.stderr, flush=True
            )
        self._then(attempt)


def run(options: argparse.Namespace) -> int:
    """Run the command of the options and return its exit code."""
    module, _, name = options.handler.partition(".")
    handler: Callable[..., None] = getattr(_MODULES[module], name)

    def called() -> None:
        own = logs.OwnRequests()
        more: tuple[Any, ...] = (own,) if module == "logs" else ()
        access = read_access(options.profile)
        if not (access.key or access.token or access.client_cert):
            raise Unusable(NO_CREDENTIAL)
        watch = Watch(access.addr, own, is_quiet=options.quiet)
        try:
            with Vault.from_environment(options.profile, hooks=Hooks(after=watch)) as vault:
                handler(vault, options, *more)
        except Unreachable as error:
            where = f"{access.addr} (VSQL_VAULT_ADDR, or addr of a profile)"
            raise Unreachable(f"{where}: {error.detail}", maybe_applied=error.maybe_applied) from None

    return exit_code(called)
