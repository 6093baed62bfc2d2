"""Expecting, from what was met before, that a purpose has no entry of an id yet."""

from __future__ import annotations

MOST = 15
ENOUGH = 8
MET_ONE_COSTS = 3


class InsertPredictor:
    """Learns for each purpose whether storing creates entries or replaces them: a saturating counter, as in branch prediction.

    A store that expected absence in vain, or met an entry, outweighs three that created: the first takes as much longer as one
    that expects rightly takes less, and does work twice besides. Whoever teaches it bounds the number of purposes: only those
    that have a retention policy have stores that succeed, and only of these an absence is expected.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def expects_insert(self, purpose: str) -> bool:
        """Whether the next entry to be stored is most likely a new one."""
        return self._counts.get(purpose, 0) >= ENOUGH

    def learn(self, purpose: str, *, absent: bool) -> None:
        """Take into account what a store has met; one that expected absence in vain has met something."""
        count = self._counts.get(purpose, 0)
        self._counts[purpose] = min(count + 1, MOST) if absent else max(count - MET_ONE_COSTS, 0)
