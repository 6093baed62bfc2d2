"""Runs a command against the vault that the environment or a profile names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from vsqlvault.cli.client import entries, logs, rules
from vsqlvault.cli.client.exit_codes import exit_code
from vsqlvault.client import Attempt, Hooks, Retries, Vault
from vsqlvault.client.environment import read_access
from vsqlvault.client.errors import Unreachable, Unusable

_MODULES = {"entries": entries, "rules": rules, "logs": logs}
NO_CREDENTIAL = (
    "set VSQL_VAULT_KEY to an API key, or VSQL_VAULT_TOKEN, VSQL_VAULT_CLIENT_CERT or a profile: there is no credential"
)
FIRST_CONTACT_SECONDS = 10.0
"""The time limit for a vault that has not answered yet, if standard error is a terminal: a person waits."""
NOTICE_SECONDS = 1.0
"""A shorter interruption is not reported."""


class Watch:
    """Takes each attempt to call the vault, and prints once that the vault does not answer and how long it is tried."""

    def __init__(self, address: str, then: Callable[[Attempt], None], *, is_quiet: bool) -> None:
        self._address = address
        self._then = then
        self._is_silent = is_quiet
        self._waited = 0.0

    def __call__(self, attempt: Attempt) -> None:
        """Take an attempt."""
        if attempt.error is None:
            self._waited = 0.0
        elif attempt.pause_seconds is not None:
            self._waited += (attempt.seconds or 0.0) + attempt.pause_seconds
            if self._waited >= NOTICE_SECONDS and not self._is_silent:
                self._is_silent = True
                limit = f"trying again for up to {attempt.max_seconds:g} seconds in all"
                print(
                    f"vsql-vault: no answer from {self._address} ({attempt.error}): {limit}",
                    file=sys.stderr,
                    flush=True,
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
        hooks = Hooks(after=Watch(access.addr, own, is_quiet=options.quiet))
        retries = Retries(first_contact_seconds=FIRST_CONTACT_SECONDS if sys.stderr.isatty() else None)
        try:
            with Vault.from_environment(options.profile, hooks=hooks, retries=retries) as vault:
                handler(vault, options, *more)
        except Unreachable as error:
            where = f"{access.addr} (VSQL_VAULT_ADDR, or addr of a profile)"
            raise Unreachable(f"{where}: {error.detail}", maybe_applied=error.maybe_applied) from None

    return exit_code(called)
