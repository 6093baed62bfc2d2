"""A vault whose comparison of values with their hashes can be removed: only for the benchmark of what it costs.

    python -m benchmarks.unchecked_values serve --config FILE

Runs ``vsql-vault`` with these arguments. SIGUSR1 removes the comparison, and SIGUSR2 puts it back. The vault has no setting for
that.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from vsqlvault import cli
from vsqlvault.interfaces.storage import Snapshot
from vsqlvault.interfaces.writes import SeenWrite
from vsqlvault.model.entry import Entry
from vsqlvault.service.entries.value_integrity import ValueIntegrity
from vsqlvault_plugins.storage.postgres import batches
from vsqlvault_plugins.storage.sqlite import transactions

IN_SQL = {
    "commit_seen_one": "AND (NOT $17::boolean OR encode(sha256(e.encrypted_value), 'hex') = e.value_sha256)",
    "commit_seen": "AND (NOT k.is_intact OR encode(sha256(e.encrypted_value), 'hex') = e.value_sha256)",
}
"""The comparison in each query of PostgreSQL that has it."""

INSTEAD = {"commit_seen_one": "AND $17::boolean IS NOT NULL", "commit_seen": ""}


def no_check(_integrity: ValueIntegrity, _entry: Entry, _value: bytes) -> None:
    """Accept any value. A function, because a mock costs more than the check."""


def is_as_seen(seen: SeenWrite, snapshot: Snapshot) -> bool:
    """Compare everything but the value."""
    return snapshot.entry == seen.entry and snapshot.now < seen.until


def unchecked_queries() -> dict[str, str]:
    """Return the queries of PostgreSQL without the comparison. Raises ValueError if a query does not have it once."""
    queries = dict(batches.QUERIES)
    for name, text in IN_SQL.items():
        if queries[name].count(text) != 1:
            raise ValueError(f"{name}: expected the comparison once")
        queries[name] = queries[name].replace(text, INSTEAD[name])
    return queries


@contextmanager
def unchecked() -> Iterator[None]:
    """Remove the comparison on every way of a GET: in the service after a read, and in the commit of both storages."""
    with (
        mock.patch.object(ValueIntegrity, "check", no_check),
        mock.patch.object(transactions, "_is_as_seen", is_as_seen),
        mock.patch.object(batches, "QUERIES", unchecked_queries()),
    ):
        yield


def main() -> int:
    """Serve, and remove or restore the comparison at each signal."""
    stack = ExitStack()

    def switch(number: int, _frame: object) -> None:
        stack.close()
        if number == signal.SIGUSR1:
            stack.enter_context(unchecked())

    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, switch)
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
