"""Keeps a process from writing to two primaries: which history of the database it has seen, and which servers continue it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from vsqlvault.errors import UnsafeStorage
from vsqlvault.quick_dataclass import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One run of one server over one history of one database. A promotion begins a new timeline, a start a new run."""

    system_identifier: str
    timeline: int
    database_oid: str
    started: str

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Incarnation:
        """Return that of a connection, by the facts it found."""
        return cls(facts["system_identifier"], facts["timeline"], facts["database_oid"], facts["started"])

    def __str__(self) -> str:
        return f"{self.system_identifier}/{self.timeline}/{self.database_oid}/{self.started}"


class Fence:
    """Remembers the newest timeline that this process has seen. Only a restart of the process forgets it."""

    def __init__(self) -> None:
        self._newest: Incarnation | None = None
        self.incarnation = ""
        """The incarnation in use; empty before the first connection."""
        self.on_change: Callable[[], None] | None = None
        """Called when another incarnation takes the place of the one that was used so far."""

    def check(self, seen: Incarnation, address: str) -> None:
        """Refuse a server that is behind a fail-over, or is another cluster.

        Raises:
            UnsafeStorage: naming both.
        """
        newest = self._newest
        if newest is None:
            return
        if seen.system_identifier != newest.system_identifier:
            raise UnsafeStorage(
                f"{address} is another database cluster (system identifier {seen.system_identifier}) than the one in use"
                f" ({newest.system_identifier}): restart the vault if that is intended"
            )
        if seen.timeline < newest.timeline:
            raise UnsafeStorage(
                f"{address} is on timeline {seen.timeline}, but timeline {newest.timeline} is in use since a fail-over:"
                " it must rejoin as a standby"
            )

    def admit(self, seen: Incarnation, address: str) -> None:
        """Use this server from now on. Raises UnsafeStorage, as ``check``."""
        self.check(seen, address)
        before, self._newest = self._newest, seen
        self.incarnation = str(seen)
        if before is None or before == seen:
            return
        facts = {"server": address, "timeline": seen.timeline, "previous_timeline": before.timeline}
        if seen.timeline != before.timeline:
            log.warning("the database has failed over: the log is checked before anything is served", extra=facts)
        else:
            log.warning("the database server has restarted: the log is checked before anything is served", extra=facts)
        if self.on_change is not None:
            self.on_change()
