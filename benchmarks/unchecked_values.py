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
from datetime import datetime
from unittest import mock

from vsqlvault import cli
from vsqlvault.interfaces.writes import SeenWrite, Write
from vsqlvault.model.entry import Entry
from vsqlvault.service.entries import seen
from vsqlvault.service.entries.value_integrity import ValueIntegrity


def no_check(_integrity: ValueIntegrity, _entry: Entry, _value: bytes) -> None:
    """Accept any value. A function, because a mock costs more than the check."""


def accepting(entry: Entry, until: datetime, write: Write, with_value: bool, _is_intact: bool) -> SeenWrite:
    """Return a write about an entry that was read before, for which the storage does not compare the value."""
    return SeenWrite(entry, until, write, with_value, is_intact=False)


@contextmanager
def unchecked() -> Iterator[None]:
    """Remove the comparison on every way of a GET: in the service after a read, and in the commit of both storages."""
    with mock.patch.object(ValueIntegrity, "check", no_check), mock.patch.object(seen, "SeenWrite", accepting):
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
