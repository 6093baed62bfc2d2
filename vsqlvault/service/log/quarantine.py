"""A database that is older than what the outside knows, or another one, gives nothing away until an operator confirms it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from vsqlvault.errors import PluginFailed, PluginUnusable, Quarantined, SettingsInvalid, StartUpRefused, TreeDamaged
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.audit import Operation
from vsqlvault.proof.log_check import SignedHead
from vsqlvault.proof.note import NoteRefused
from vsqlvault.service.log.stored_tree import root_at
from vsqlvault.service.plugin_calls import call_plugin

log = logging.getLogger(__name__)
ANCHOR_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 1.0
CONFIRMATIONS = 100


class Quarantine:
    """Compares the stored tree with the checkpoints that anchors know, at start, and remembers which ones it does not continue.

    An operator confirms by a row of the access log that names those checkpoints (``vsql-vault confirm-restore``), which every
    process on the storage sees.
    """

    def __init__(self, storage: Storage, anchors: Sequence[Anchor], origin: str | None) -> None:
        self._storage = storage
        self._anchors = tuple(anchors)
        self._origin = origin
        self._looked_at = 0.0
        self._unlike: dict[str, str] = {}

    @property
    def anchors(self) -> Sequence[Anchor]:
        """The anchors of this vault."""
        return self._anchors

    @property
    def notes(self) -> Sequence[str]:
        """The checkpoints that the stored tree does not continue; none: there is no quarantine."""
        return tuple(self._unlike)

    @property
    def why(self) -> str:
        """In what the stored tree differs from them."""
        return "; ".join(dict.fromkeys(self._unlike.values()))

    async def begin(self) -> None:
        """Ask the anchors, and go into quarantine where the stored tree is not one that continues what they know.

        Raises:
            PluginUnusable: an anchor cannot tell. SettingsInvalid: what it knows is of another log, or no checkpoint.
        """
        for anchor in self._anchors:
            try:
                note = await call_plugin(
                    anchor, anchor.newest, (str, type(None)), ANCHOR_SECONDS, passes=(StartUpRefused,)
                )
            except PluginFailed as failed:
                raise PluginUnusable(f"anchor {anchor.name}: it cannot tell its newest checkpoint") from failed
            if note is not None and (why := await self._differs(anchor, note)) and not await self._is_confirmed(note):
                self._unlike[note] = why
                log.error(
                    "QUARANTINE: entries are refused until vsql-vault confirm-restore",
                    extra={"anchor": anchor.name, "why": why},
                )

    async def check(self) -> None:
        """Raise Quarantined where the vault is in quarantine, and nobody has confirmed meanwhile."""
        if self._unlike and not await self.is_lifted():
            raise Quarantined

    async def is_lifted(self) -> bool:
        """Whether there is no quarantine, or none any more; the storage is asked once a second at most."""
        if self._unlike and time.monotonic() - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._looked_at = time.monotonic()
            self._unlike = {note: why for note, why in self._unlike.items() if not await self._is_confirmed(note)}
            if not self._unlike:
                log.warning("the quarantine is over: an operator has confirmed the database")
        return not self._unlike

    async def _differs(self, anchor: Anchor, note: str) -> str | None:
        try:
            head = SignedHead.parse(note).head
        except NoteRefused as refused:
            raise SettingsInvalid(f"anchor {anchor.name}: {refused}") from None
        if self._origin is not None and head.origin != self._origin:
            raise SettingsInvalid(f"anchor {anchor.name}: expected a checkpoint of {self._origin}, found {head.origin}")
        size = await self._storage.tree_size()
        if head.size > size:
            return f"it has {size} leaves, the checkpoint outside {head.size}"
        try:
            root = await root_at(self._storage, head.size)
        except TreeDamaged as damaged:
            return damaged.detail
        return None if root == head.root else f"its first {head.size} leaves are not those of the checkpoint outside"

    async def _is_confirmed(self, note: str) -> bool:
        query = LogQuery(
            limit=CONFIRMATIONS, equals={"operation": Operation.CONFIRM_RESTORE.value, "outcome": "granted"}
        )
        return any(note in (row.record.new_value or "") for row in await self._storage.access_log(query))
