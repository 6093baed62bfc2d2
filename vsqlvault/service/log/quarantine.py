"""The quarantine: entries are unavailable while the database does not continue a known checkpoint."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from vsqlvault.errors import (
    PluginFailed,
    PluginUnusable,
    Quarantined,
    SettingsInvalid,
    StartUpRefused,
    TreeDamaged,
)
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.storage import LogQuery, LogRow, Storage
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.control import ControlState
from vsqlvault.model.principal import SYSTEM
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.checkpoint import TreeHead
from vsqlvault.proof.log_check import SignedHead
from vsqlvault.proof.note import NoteRefused
from vsqlvault.proof.restores import split_notes
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.log.continuity import Continuity, Discontinuity
from vsqlvault.service.log.stored_tree import root_at
from vsqlvault.service.plugin_calls import call_plugin
from vsqlvault.service.tasks import PeriodicTask

log = logging.getLogger(__name__)
CONTROL = "log_consistent"
ANCHOR_SECONDS = 10.0
CHECK_INTERVAL_SECONDS = 1.0
CONFIRMATIONS = 100
MAX_GIVEN_UP = 4_096
"""How many checkpoints a confirmation has at most: the largest ones."""

RECORDED_BEFORE = timedelta(minutes=1)
"""The row of a quarantine is committed shortly before the control is seen to fail."""


class Quarantine:
    """Compares the stored tree with the checkpoints that this process, other processes and anchors know.

    It compares once a second, and before anything is served when the storage has become another incarnation. Anchors
    are read at start and at each new incarnation. An operator confirms with a row of the access log that names the
    checkpoints which the stored tree does not continue (``vsql-vault confirm-restore``). Every process on the storage
    reads it.
    """

    def __init__(
        self,
        storage: Storage,
        anchors: Sequence[Anchor],
        origin: str | None,
        *,
        continuity: Continuity,
        queue: CommitQueue,
        look_seconds: float = CHECK_INTERVAL_SECONDS,
        anchor_seconds: float = ANCHOR_SECONDS,
    ) -> None:
        self._storage = storage
        self._anchors = tuple(anchors)
        self._origin = origin
        self._continuity = continuity
        self._queue = queue
        self._look_seconds = look_seconds
        self._anchor_seconds = anchor_seconds
        self._looked_at = 0.0
        self._checked: str | None = None
        """The incarnation that was compared last, or None."""
        self._anchors_are_due = False
        self._unlike: dict[str, str] = {}
        self._anchored: dict[str, set[Anchor]] = {}
        self._seen: dict[str, Checkpoint] = {}
        self._looking = asyncio.Lock()
        self.task = PeriodicTask("log comparison", self.compare, look_seconds)
        self.on_change: Callable[[], None] | None = None
        """Called when a quarantine begins or ends."""

    @property
    def anchors(self) -> Sequence[Anchor]:
        """The anchors of this vault."""
        return self._anchors

    @property
    def notes(self) -> Sequence[str]:
        """The checkpoints that the stored tree does not continue; empty without a quarantine."""
        return tuple(self._unlike)

    @property
    def why(self) -> str:
        """How the stored tree differs from them."""
        return "; ".join(dict.fromkeys(self._unlike.values()))

    @property
    def must_check(self) -> bool:
        """Whether ``check`` must be called before an entry is served."""
        return bool(self._unlike) or self._storage.incarnation != self._checked

    async def begin(self) -> None:
        """Compare for the first time.

        Raises:
            PluginUnusable: an anchor does not answer. SettingsInvalid: its answer is of another log, or is not a
            checkpoint.
        """
        incarnation = self._storage.incarnation
        for anchor in self._anchors:
            try:
                await self._ask(anchor)
            except PluginFailed as failed:
                raise PluginUnusable(f"anchor {anchor.name}: it cannot return its newest checkpoint") from failed
        with suppress(TreeDamaged):  # the sequencer reports it
            await self._continuity.look()
        await self._take_recorded()
        self._checked = incarnation

    async def compare(self) -> None:
        """Compare the stored log with the known checkpoints, and end the quarantine if it was confirmed.

        Raises Unavailable.
        """
        with suppress(TreeDamaged):  # the sequencer reports it
            await self.look()
        await self.is_lifted()
        await self._ask_anchors_again()

    async def look(self) -> None:
        """Compare the stored log with the known checkpoints. Raises TreeDamaged, Unavailable."""
        async with self._looking:
            await self._look()

    async def check(self) -> None:
        """Compare, if the storage is another incarnation than the one compared last.

        Raises:
            Quarantined: the vault is in quarantine, and no operator has confirmed. Unavailable.
        """
        if self._storage.incarnation != self._checked:
            async with self._looking:
                if self._storage.incarnation != self._checked:
                    with suppress(TreeDamaged):
                        await self._look()
        if self._unlike and not await self.is_lifted():
            raise Quarantined

    async def require(self) -> None:
        """Compare now. Raises Quarantined, TreeDamaged, Unavailable: nothing may be signed."""
        await self.look()
        if self._unlike:
            raise Quarantined(self.why)

    async def discontinued(self, notes: Iterable[str]) -> list[str]:
        """Return the checkpoints of this log that the stored tree does not continue, each once, smallest first.

        Checkpoints of other logs, and those that an operator has given up before, are left out. Raises Unavailable.
        """
        newest = await self._storage.newest_checkpoint()
        origin = self._origin or (newest and newest.origin)
        given_up = {note for row in await self._confirmations() for note in split_notes(row.record.new_value or "")}
        heads: dict[str, TreeHead] = {}
        for note in notes:
            with suppress(NoteRefused):
                if note not in given_up and (head := SignedHead.parse(note).head).origin == origin:
                    heads[note] = head
        by_size = sorted(heads, key=lambda note: heads[note].size)
        return [note for note in by_size if await self._difference(heads[note])][-MAX_GIVEN_UP:]

    async def kept_by_anchors(self) -> list[str]:
        """Return the checkpoints that anchors keep, from the size of the stored tree. An anchor that fails is left out."""
        size, found = await self._storage.tree_size(), list[str]()
        for anchor in self._anchors:
            with suppress(PluginFailed):
                kept = await call_plugin(
                    anchor, partial(anchor.larger_than, size, MAX_GIVEN_UP), (list, tuple), self._anchor_seconds
                )
                found += [note for note in kept if isinstance(note, str)]
        return found

    async def is_lifted(self) -> bool:
        """Whether there is no quarantine, or it has ended. The storage is read at most once a second."""
        if self._unlike and time.monotonic() - self._looked_at >= self._look_seconds:
            self._looked_at = time.monotonic()
            for note in self.notes:
                if await self._is_confirmed(note):
                    await self._accept(note)
            if not self._unlike:
                log.warning("the quarantine is over: an operator has confirmed the database")
                self._tell()
        return not self._unlike

    async def _look(self) -> None:
        incarnation = self._storage.incarnation
        try:
            found = await self._continuity.look()
            if found is not None and found.checkpoint.note not in self._unlike:
                await self._begin_over(found)
            await self._take_recorded()
        finally:
            if incarnation != self._checked:
                self._anchors_are_due = True
        self._checked = incarnation

    async def _begin_over(self, found: Discontinuity) -> None:
        """Start the quarantine, unless it is confirmed, and record it for all processes."""
        note = found.checkpoint.note
        self._seen[note] = found.checkpoint
        if await self._is_confirmed(note):
            await self._accept(note)
            return
        self._enter(note, found.why, "this process")
        await self._queue.record(_row(found, (await self._queue.read()).now))

    def _enter(self, note: str, why: str, source: str) -> None:
        self._unlike[note] = why
        log.error(
            "QUARANTINE: entries are refused until vsql-vault confirm-restore", extra={"source": source, "why": why}
        )
        self._tell()

    async def _accept(self, note: str) -> None:
        """Accept the stored log, although it does not continue this checkpoint."""
        self._unlike.pop(note, None)
        for anchor in self._anchored.pop(note, ()):
            with suppress(PluginFailed):
                await call_plugin(anchor, partial(anchor.supersede, note), type(None), self._anchor_seconds)
        newest = self._continuity.newest
        if self._seen.pop(note, None) is not None or (newest is not None and newest.note == note):
            self._continuity.forget()

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change()

    async def _take_recorded(self) -> None:
        """Start the quarantine that another process has recorded, if it has not ended."""
        states = {change.name: change for change in await self._storage.control_states()}
        failing = states.get(CONTROL)
        if failing is None or failing.state is not ControlState.FAILING:
            return
        since = failing.at - RECORDED_BEFORE
        query = LogQuery(limit=CONFIRMATIONS, since=since, equals={"operation": Operation.QUARANTINE.value})
        for row in await self._storage.access_log(query):
            note = row.record.new_value
            if note and note not in self._unlike and not await self._is_confirmed(note, row.record.at):
                self._enter(note, row.record.detail or "", "another process")

    async def _ask_anchors_again(self) -> None:
        """Read the anchors after the storage became another incarnation.

        An anchor that fails is read again at the next comparison.
        """
        if not self._anchors_are_due:
            return
        for anchor in self._anchors:
            try:
                await self._ask(anchor)
            except (PluginFailed, StartUpRefused) as error:
                log.warning("an anchor cannot be read", extra={"anchor": anchor.name, "error": error.slug})
                return
        self._anchors_are_due = False

    async def _ask(self, anchor: Anchor) -> None:
        note = await call_plugin(
            anchor, anchor.newest, (str, type(None)), self._anchor_seconds, passes=(StartUpRefused,)
        )
        if note is None or note in self._unlike or not (why := await self._differs(anchor, note)):
            return
        self._anchored.setdefault(note, set()).add(anchor)
        if await self._is_confirmed(note):
            await self._accept(note)
        else:
            self._enter(note, why, anchor.name)

    async def _differs(self, anchor: Anchor, note: str) -> str | None:
        try:
            head = SignedHead.parse(note).head
        except NoteRefused as refused:
            raise SettingsInvalid(f"anchor {anchor.name}: {refused}") from None
        if self._origin is not None and head.origin != self._origin:
            raise SettingsInvalid(f"anchor {anchor.name}: expected a checkpoint of {self._origin}, found {head.origin}")
        return await self._difference(head)

    async def _difference(self, head: TreeHead) -> str | None:
        size = await self._storage.tree_size()
        if head.size > size:
            return (
                f"it has {size} leaves, the checkpoint outside {head.size}: leaves {size} to {head.size - 1} are lost"
            )
        try:
            root = await root_at(self._storage, head.size)
        except TreeDamaged as damaged:
            return damaged.detail
        if root == head.root:
            return None
        return f"its first {head.size} leaves have the root {root.hex()}, those of the checkpoint outside {head.root.hex()}"

    async def _is_confirmed(self, note: str, begun_at: datetime | None = None) -> bool:
        """Whether an operator has confirmed: with this checkpoint's note, or after it was signed or ``begun_at``.

        The latter applies only to what this process has seen, because each process has seen another checkpoint last.
        """
        seen = self._seen.get(note)
        since = begun_at or (seen.signed_at if seen else None)
        return any(
            note in (row.record.new_value or "") or (since is not None and row.record.at >= since)
            for row in await self._confirmations()
        )

    async def _confirmations(self) -> Sequence[LogRow[AccessRecord]]:
        equals = {"operation": Operation.CONFIRM_RESTORE.value, "outcome": "granted"}
        return await self._storage.access_log(LogQuery(limit=CONFIRMATIONS, equals=equals))


def _row(found: Discontinuity, at: datetime) -> AccessRecord:
    return AccessRecord(
        at=at,
        request_id=secrets.token_hex(16),
        operation=Operation.QUARANTINE,
        outcome=Outcome.GRANTED,
        status=200,
        app=SYSTEM.app,
        method=SYSTEM.method,
        credential_id=SYSTEM.credential_id,
        detail=found.why,
        new_value=found.checkpoint.note,
    )
