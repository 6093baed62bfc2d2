"""Prunes old checkpoints: among close ones, the last proves all that the others prove."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from vsqlvault.interfaces.tree_storage import TreeStorage
from vsqlvault.model.times import EPOCH
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.checkpoint import TreeHead
from vsqlvault.proof.note import NoteRefused, split_note
from vsqlvault.service.commit.storage_clock import StorageClock

log = logging.getLogger(__name__)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEEPS_ALL = DAY
"""How long every checkpoint is kept; afterwards the last one of each hour."""

KEEPS_HOURS = timedelta(days=90)
"""How long hourly checkpoints are kept; afterwards the last one of each day."""

SLACK = HOUR
"""Tolerance for the storage's own clock, by which it refuses to delete young checkpoints."""

PAGE = 250
REST_SECONDS = 3_600.0


def superfluous(checkpoints: Sequence[Checkpoint], now: datetime) -> list[int]:
    """Return the sizes of consecutive checkpoints, smallest first, that the next one replaces.

    The next one replaces a checkpoint if both have the same signers and fall into the same hour, or the same day (UTC) once old
    enough. The last is never replaced, nor is one whose columns differ from its note: that is kept for verification.
    """
    return [one.size for one, following in pairwise(checkpoints) if _stands_for(following, one, now - one.signed_at)]


def _stands_for(following: Checkpoint, one: Checkpoint, age: timedelta) -> bool:
    if age < KEEPS_ALL:
        return False
    span = HOUR if age < KEEPS_HOURS else DAY
    signers = _signers(one)
    return (
        signers is not None
        and signers == _signers(following)
        and (one.signed_at - EPOCH) // span == (following.signed_at - EPOCH) // span
    )


def _signers(checkpoint: Checkpoint) -> set[tuple[str, bytes]] | None:
    """Return the signers that the note names; None if the columns differ from the note."""
    try:
        text, signatures = split_note(checkpoint.note)
        head = TreeHead.parse(text)
    except NoteRefused:
        return None
    if head != TreeHead(checkpoint.origin, checkpoint.size, checkpoint.root):
        return None
    return {(name, key_id) for name, key_id, _ in signatures}


class Thinning:
    """Deletes the superfluous checkpoints once an hour, one page per step."""

    def __init__(
        self, storage: TreeStorage, clock: StorageClock, *, page: int = PAGE, rest_seconds: float = REST_SECONDS
    ) -> None:
        self._page = page
        self._rest_seconds = rest_seconds
        self._storage = storage
        self._clock = clock
        self._after = 0
        self._due = 0.0
        self.taken_out = 0
        """Checkpoints deleted by this process."""

    async def step(self) -> None:
        """Process the next page, if it is time. Raises Unavailable; the next step starts at the same page."""
        if time.monotonic() < self._due:
            return
        page = await self._storage.checkpoints(self._after, self._page)
        now = self._clock.now() - SLACK
        sizes = superfluous(page, now)
        if sizes:
            await self._storage.thin_checkpoints(sizes)
            self.taken_out += len(sizes)
            log.info("old checkpoints deleted", extra={"count": len(sizes), "from": sizes[0], "to": sizes[-1]})
        if len(page) == self._page and now - page[-1].signed_at >= KEEPS_ALL:
            self._after = page[-2].size  # the last one is compared with its successor, too
        else:
            self._after, self._due = 0, time.monotonic() + self._rest_seconds
