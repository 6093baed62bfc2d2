"""Predicts whether a store creates an entry."""

from __future__ import annotations

MOST = 15
ENOUGH = 8
MET_ONE_COSTS = 3


class InsertPredictor:
    """A saturating counter per purpose, as in branch prediction: whether stores create entries or replace them.

    A wrong prediction, or a store that found an entry, counts as much as three creations: a wrong prediction costs as
    much time as a right one saves, and twice the work. The caller limits the number of purposes: stores succeed only in
    purposes with a retention policy, and only these are predicted.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def expects_insert(self, purpose: str) -> bool:
        """Whether the next store most likely creates an entry."""
        return self._counts.get(purpose, 0) >= ENOUGH

    def learn(self, purpose: str, *, absent: bool) -> None:
        """Learn from a store. After a wrong prediction, it found an entry."""
        count = self._counts.get(purpose, 0)
        self._counts[purpose] = min(count + 1, MOST) if absent else max(count - MET_ONE_COSTS, 0)
