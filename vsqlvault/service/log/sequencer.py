"""Assigns indexes to rows and signs the tree, in one process at a time."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from vsqlvault.errors import Quarantined, SettingsInvalid, TreeDamaged, VaultError
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.tree_storage import PendingLeaf, TreeGrowth
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.principal import SYSTEM
from vsqlvault.model.transparency import Checkpoint, LogName
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.key_roll import sign_roll
from vsqlvault.proof.note import NoteRefused, Signer, VerifierKey, open_note, split_note
from vsqlvault.proof.tiles import Edge
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.log.checkpoint_pruning import Thinning
from vsqlvault.service.log.continuity import CheckpointObserver
from vsqlvault.service.log.stored_tree import load_edge
from vsqlvault.service.tasks import Lease, LeasedTask

log = logging.getLogger(__name__)
LEASE = "sequencer"
LEASE_SECONDS = 5.0
BATCH = 4_096
"""The maximum number of rows of a log that get their index in one commit. On SQLite other commits wait for it, about 15 ms."""
LEAST_REST_SECONDS = 0.01
DAMAGED_SECONDS = 60.0
"""The pause before a tree that does not match its signed state is checked again."""


@dataclass(frozen=True, slots=True)
class Signing:
    """The signing keys. ``previous`` is the previous key. ``previous_lost``: the previous key is not available.

    ``is_default``: the key was generated because none was set. It never signs a log that another key has signed.
    ``only_verify`` are verifier keys of a process that does not sign.
    """

    current: Signer | None = None
    previous: Signer | None = None
    previous_lost: bool = False
    is_default: bool = False
    only_verify: tuple[VerifierKey, ...] = ()

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """The verifier keys, the current one first."""
        return (*(each.verifier for each in (self.current, self.previous) if each), *self.only_verify)

    def without_secrets(self) -> Signing:
        """Return the verifier keys alone."""
        return Signing(only_verify=self.verifiers)


@dataclass(slots=True)
class SequencerState:
    """The work of this process, for metrics. ``signed_at`` is by its monotonic clock, or None if it has not signed."""

    leaves: int = 0
    checkpoints: int = 0
    thinned: int = 0
    signed_at: float | None = None
    is_leader: bool = False
    is_inconsistent: bool = False


@dataclass(slots=True)
class _Known:
    """The tree as this process last left it."""

    edge: Edge
    signed_size: int
    incarnation: str


class Sequencer:
    """Sequences committed rows while this process has the lease.

    The lease only avoids duplicate work: a growth is committed only if the tree has the expected size, in the same
    incarnation of the storage. Before it grows, the tree is loaded and compared with the newest checkpoint, stored or
    remembered, so nothing is signed that does not continue it.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        clock: StorageClock,
        signing: Signing,
        interval_seconds: float,
        observers: Sequence[CheckpointObserver] = (),
        on_growth: Callable[[], None] = lambda: None,
        may_grow: Callable[[], Awaitable[bool]] | None = None,
        require_continuity: Callable[[], Awaitable[None]] | None = None,
        pruning: Thinning | None = None,
        batch: int = BATCH,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """``may_grow`` is called before each turn. While it returns False, nothing is indexed or signed.

        ``require_continuity`` raises if the stored tree does not continue the known checkpoints. It is called whenever
        the tree is loaded, which happens again in each incarnation of the storage. ``pruning`` deletes old checkpoints,
        one page per turn. ``on_growth`` is called after each growth. ``batch``: the number of rows of a log
        that are sequenced at once.
        """
        self._batch = batch
        self._storage = storage
        self._queue = queue
        self._clock = clock
        self._signing = signing
        self._interval_seconds = interval_seconds
        self._observers = tuple(observers)
        self._on_growth = on_growth
        self._may_grow = may_grow
        self._require_continuity = require_continuity
        self._known: _Known | None = None
        self._thinning = pruning or Thinning(storage, clock)
        lease = Lease(storage, LEASE, lease_seconds, renew_after_seconds=lease_seconds / 2)
        self.state = SequencerState()
        self.task = LeasedTask(
            lease, "transparency log", self._turn, interval_seconds, last_step=self._turn, ends_within_seconds=5.0
        )
        """Runs every interval, and once more when it ends."""

    @property
    def verifier(self) -> VerifierKey | None:
        """The verifier key of new checkpoints, or None without a signing key."""
        return self._signing.current.verifier if self._signing.current else None

    async def check_key(self) -> None:
        """Check that the signing key may continue from the newest checkpoint.

        Raises:
            SettingsInvalid: another key signed it, and is not available to sign its successor.
        """
        newest = await self._storage.newest_checkpoint()
        if newest is not None and self._signing.current is not None:
            with suppress(TreeDamaged):  # the log reports it
                self._signer_of(newest)

    async def sequence(self) -> int:
        """Assign an index to every settled row, sign the tree, and return the number of rows.

        Raises:
            TreeDamaged: the stored tree does not match the signed one. Quarantined: it does not continue the known
            checkpoints.
            Unavailable, SettingsInvalid.
        """
        added = 0
        more = True
        while more:
            known, self._known = self._known, None  # until it is loaded again
            if known is None or known.incarnation != self._storage.incarnation:
                known = await self._load()
            pending = await self._storage.unsequenced(self._batch)
            logs = [leaf.place.log for leaf in pending]
            more = any(logs.count(log) == self._batch for log in LogName)
            self._known = await self._grow(known, pending, sign=not more or self._is_due())
            added += len(pending)
        return added

    async def _turn(self) -> float:
        """Run one turn if this process has the lease, and return the pause: turns start one interval apart."""
        began = time.monotonic()
        try:
            if (self._may_grow is None or await self._may_grow()) and await self._leads():
                await self.sequence()
                self.state.is_inconsistent = False
                await self._thin()
            return max(self._interval_seconds - (time.monotonic() - began), LEAST_REST_SECONDS)
        except TreeDamaged as error:
            self.state.is_inconsistent = True
            log.error("the transparency log does not grow: run vsql-vault verify", extra={"error": str(error)})  # noqa: TRY400
            return DAMAGED_SECONDS
        except VaultError as error:
            self.state.is_inconsistent |= isinstance(error, Quarantined)
            log.warning("the transparency log waits", extra={"error": error.slug, "detail": error.detail})
        except Exception:
            log.exception("the transparency log waits")
        return self._interval_seconds

    async def _thin(self) -> None:
        """Delete a page of old checkpoints. If this fails, the log still grows."""
        try:
            await self._thinning.step()
        except VaultError as error:
            log.warning("old checkpoints could not be deleted", extra={"error": error.slug, "detail": error.detail})
        self.state.thinned = self._thinning.taken_out

    async def _leads(self) -> bool:
        self.state.is_leader = await self.task.lead()
        if not self.state.is_leader:
            self._known = None
        return self.state.is_leader

    async def _load(self) -> _Known:
        incarnation = self._storage.incarnation
        if self._require_continuity is not None:
            await self._require_continuity()
        edge, newest = await load_edge(self._storage)
        current = self._signing.current
        if newest is None or current is None:
            return _Known(edge, newest.size if newest else 0, incarnation)
        if self._signing.is_default and not _is_signed_by(newest, current):
            log.warning("another process has signed first, with its own key: this process does not sign")
            self._signing = Signing()
            return _Known(edge, newest.size, incarnation)
        signed_by = self._signer_of(newest)
        if signed_by != current.verifier:
            await self._roll(current, signed_by, newest)
        return _Known(edge, newest.size, incarnation)

    def _signer_of(self, newest: Checkpoint) -> VerifierKey | None:
        """Return the configured key that signed the checkpoint, or None if that key is declared lost."""
        signing = self._signing
        keys = [signer.verifier for signer in (signing.current, signing.previous) if signer]
        try:
            text, signed = open_note(newest.note, keys)
        except NoteRefused as refused:
            if self._signing.previous_lost:
                return None
            raise SettingsInvalid(
                f"audit.signing_key_file: expected the key that signed the newest checkpoint ({_signers(newest)}), or that"
                " key as audit.previous_signing_key_file"
            ) from refused
        if text != str(TreeHead(newest.origin, newest.size, newest.root)):
            raise TreeDamaged(f"the note of the checkpoint of {newest.size} leaves has another content")
        return signed[0]

    async def _roll(self, current: Signer, old: VerifierKey | None, newest: Checkpoint) -> None:
        """Record the change of the signing key, signed by the old key if it is available."""
        note = (
            sign_roll(old, current.verifier, self._signing.previous, current)
            if old and self._signing.previous
            else None
        )
        row = AccessRecord(
            at=self._clock.now(),
            request_id=secrets.token_hex(16),
            operation=Operation.ROTATE_SIGNING_KEY,
            outcome=Outcome.GRANTED,
            status=200,
            app=SYSTEM.app,
            method=SYSTEM.method,
            credential_id=SYSTEM.credential_id,
            detail=None if note else "the previous key is lost",
            old_value=str(old) if old else _signers(newest),
            new_value=note or str(current.verifier),
        )
        await self._queue.record(row)
        log.warning("the signing key has changed", extra={"old": row.old_value, "new": str(current.verifier)})

    async def _grow(self, known: _Known, pending: Sequence[PendingLeaf], *, sign: bool) -> _Known | None:
        """Commit the leaves. Return None if another process was faster, or the outcome is unknown."""
        edge, tiles = known.edge.grown([leaf.leaf_hash for leaf in pending])
        checkpoint = self._sign(edge, known.signed_size) if sign else None
        if not pending and checkpoint is None:
            return known
        places = [leaf.place for leaf in pending]
        growth = TreeGrowth(known.edge.size, places, tiles, checkpoint, known.incarnation)
        if not await self._storage.grow_tree(growth):
            return None
        self.state.leaves += len(pending)
        self._on_growth()
        if checkpoint is None:
            return _Known(edge, known.signed_size, known.incarnation)
        self.state.checkpoints += 1
        self.state.signed_at = time.monotonic()
        for observer in self._observers:
            observer(checkpoint)
        return _Known(edge, checkpoint.size, known.incarnation)

    def _sign(self, edge: Edge, signed_size: int) -> Checkpoint | None:
        signer = self._signing.current
        if signer is None or edge.size == signed_size:
            return None
        head = TreeHead(signer.verifier.name, edge.size, edge.root())
        return Checkpoint(head.origin, head.size, head.root, sign_checkpoint(head, signer), self._clock.now())

    def _is_due(self) -> bool:
        signed_at = self.state.signed_at
        return signed_at is None or time.monotonic() - signed_at >= self._interval_seconds


def _is_signed_by(checkpoint: Checkpoint, signer: Signer) -> bool:
    try:
        open_note(checkpoint.note, [signer.verifier])
    except NoteRefused:
        return False
    return True


def _signers(checkpoint: Checkpoint) -> str:
    """Return the names and key ids under a checkpoint.

    Raises:
        TreeDamaged: it is not a signed note.
    """
    try:
        return ", ".join(f"{name} {key_id.hex()}" for name, key_id, _ in split_note(checkpoint.note)[1])
    except NoteRefused as refused:
        raise TreeDamaged(f"the note of the checkpoint of {checkpoint.size} leaves is malformed") from refused
