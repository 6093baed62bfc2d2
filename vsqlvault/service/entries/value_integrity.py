"""Compares stored values with the hashes that were recorded when they were stored."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha256

from vsqlvault.errors import ValueCorrupt
from vsqlvault.model.entry import Entry, EntryKey

log = logging.getLogger(__name__)
MAX_REMEMBERED = 1_000
"""Limit of the corrupt entries that a process remembers; the oldest finding is dropped first."""


def is_intact(entry: Entry, value: bytes) -> bool:
    """Return whether a value is the one that was stored."""
    return sha256(value).hexdigest() == entry.value_sha256


class ValueIntegrity:
    """Checks values when they are read, and remembers the entries whose value is not the one that was stored."""

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max_remembered = max_remembered
        self._corrupt: OrderedDict[EntryKey, None] = OrderedDict()

    def check(self, entry: Entry, value: bytes) -> None:
        """Raise ValueCorrupt if the value is not the one that was stored."""
        if sha256(value).hexdigest() == entry.value_sha256:
            if self._corrupt:
                self.forget((entry.key,))
            return
        if entry.key not in self._corrupt:
            log.critical("a stored value differs from its hash", extra={"entry_id": entry.entry_id})
            self._corrupt[entry.key] = None
            if len(self._corrupt) > self._max_remembered:
                self._corrupt.popitem(last=False)
        raise ValueCorrupt

    def forget(self, keys: Iterable[EntryKey]) -> None:
        """Drop entries that were repaired or purged."""
        for key in keys:
            self._corrupt.pop(key, None)

    @property
    def count(self) -> int:
        """How many entries this process knows to be corrupt, up to the limit."""
        return len(self._corrupt)
