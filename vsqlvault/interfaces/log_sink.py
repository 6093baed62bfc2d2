"""Exporting the rows of both logs to another system, such as a SIEM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from vsqlvault.model.transparency import LogName
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """A row of a log with its index in the transparency log.

    ``leaf`` is the canonical JSON of the row (RFC 8785, UTF-8): ``{"access": row}`` or ``{"purge": row}``. SHA-256 over a zero
    byte and ``leaf`` is the hash of the leaf, so that a receiver can build the root of a signed checkpoint from what it got.
    """

    index: int
    log: LogName
    leaf: bytes

    def line(self) -> bytes:
        """Return the row as one line of NDJSON, without its newline: ``{"index": …, "leaf": …, "log": …}``."""
        return b'{"index":%d,"leaf":%b,"log":"%b"}' % (self.index, self.leaf, self.log.value.encode())


class LogSink(Protocol):
    """One destination: a table ``[[export]]`` of the settings."""

    async def deliver(self, rows: Sequence[ExportedRow]) -> None:
        """Deliver rows in the order of their indexes, at most 256, and return once the destination has them.

        A delivery that raises an exception or takes more than 30 seconds is repeated with the same rows after five seconds.
        So the destination gets each row at least once, and knows a repeated one by its index. Responses never wait for it.
        """
        ...


class LogSinkKind(Protocol):
    """A kind of destination: the value of ``kind`` in ``[[export]]``."""

    name: str
    """Unique among the plugins loaded."""

    model: type[BaseModel]
    """The keys of ``[[export]]`` besides ``name``, ``kind`` and ``from_start``. Forbid extra keys."""

    def open(self, name: str, chosen: Any) -> LogSink:
        """Return a destination for the table with this ``name``. ``chosen`` is its validated ``model``.

        Raises:
            StartUpRefused: it cannot be used. The message names the key.
        """
        ...
