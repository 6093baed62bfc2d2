"""The checks behind each control. Health, metrics, audit rows and the report all use these."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType

from vsqlvault.config import Settings
from vsqlvault.errors import PluginFailed, VaultError
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.control import CONTROLS, Check, ControlChange, ControlState
from vsqlvault.model.times import format_time
from vsqlvault.model.transparency import LogName, RowPlace
from vsqlvault.proof.log_check import SignedHead
from vsqlvault.proof.note import NoteRefused
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.compliance.attestation_schedule import AttestationSchedule
from vsqlvault.service.log.delivery_watch import DeliveryWatch
from vsqlvault.service.log.quarantine import Quarantine
from vsqlvault.service.log.verifier import LogVerifier
from vsqlvault.service.plugin_calls import call_plugin
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.purge.expired import PAGE as EXPIRED_PAGE
from vsqlvault.service.purge.overdue import find_overdue, sweep_grace

log = logging.getLogger(__name__)
ANCHOR_SECONDS = 10.0
CONTROL_SECONDS = 5.0
SWEEPS_MISSED = 2
BROKEN_OFF_FOR = timedelta(hours=1)
LEAST_UNSIGNED_SECONDS = 60.0
INTERVALS_UNSIGNED = 3
MIN_UNANCHORED_SECONDS = 300.0
MAX_OVERDUE_READ = 10_000
NOTHING_RECORDED: Mapping[str, ControlChange] = MappingProxyType({})
Ends = Callable[[], Mapping[str, datetime]]


class ControlChecks:
    """Checks every control. No check takes time that grows with the number of entries or rows."""

    def __init__(
        self,
        *,
        settings: Settings,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        watch: ClockGuard,
        beginning: AttestationSchedule,
        quarantine: Quarantine,
        verifier: LogVerifier,
        deliveries: DeliveryWatch,
        exports: DeliveryWatch,
        anchors: Sequence[Anchor],
        offered: Sequence[VaultControl],
        is_signed: bool,
        is_inconsistent: Callable[[], bool],
        corrupt_values: Callable[[], int],
        max_overdue_read: int = MAX_OVERDUE_READ,
        expired_page: int = EXPIRED_PAGE,
        min_unanchored_seconds: float = MIN_UNANCHORED_SECONDS,
    ) -> None:
        """``max_overdue_read``: expired entries that one check reads, ``expired_page`` at once.

        ``min_unanchored_seconds``: how long a checkpoint may be missing from every anchor, and an answer of one is relied on.
        """
        self._max_overdue_read = max_overdue_read
        self._expired_page = expired_page
        self._min_unanchored_seconds = min_unanchored_seconds
        self._settings = settings
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._watch = watch
        self._beginning = beginning
        self._quarantine = quarantine
        self._verifier = verifier
        self._deliveries = deliveries
        self._exports = exports
        self._anchors = tuple(anchors)
        self._offered = {control.name: control for control in offered}
        self._is_signed = is_signed
        self._is_inconsistent = is_inconsistent
        self._corrupt_values = corrupt_values
        self._anchored: dict[str, tuple[int, float]] = {}
        """How many leaves each anchor holds, and the monotonic time at which it said so."""
        self.certificates: Ends | None = None
        """Expiry of the certificates this process presents and trusts, by file; None without TLS."""

    async def look(self, now: datetime, recorded: Mapping[str, ControlChange] = NOTHING_RECORDED) -> dict[str, Check]:
        """Check each control and return the results by name. A check that raises counts as failing.

        ``recorded``: the newest recorded change of each control, which stays while this process cannot judge it yet.
        """
        looks: dict[str, Callable[[], Awaitable[Check]]] = {
            "sweep_ran": partial(self._sweep_ran, now),
            "nothing_overdue": partial(self._nothing_overdue, now),
            "attestation_current": partial(self._attestation_current, now),
            "log_signed": partial(self._log_signed, now),
            "log_consistent": self._log_consistent,
            "log_verified": partial(self._log_verified, now),
            "anchor_fresh": partial(self._anchor_fresh, now),
            "deliveries_current": partial(self._deliveries_current, now, recorded.get("deliveries_current")),
            "export_current": partial(self._export_current, now),
            "storage_durable": self._storage_durable,
            "storage_has_room": self._storage_has_room,
            "values_intact": self._values_intact,
            "clock_sane": self._clock_sane,
            "certificates_valid": partial(self._certificates_valid, now),
        }
        found = {name: await _looked(name, looks[name]) for name in CONTROLS}
        return found | {name: await _offered(control, now) for name, control in self._offered.items()}

    @property
    def requirements(self) -> Mapping[str, tuple[str, ...]]:
        """Every control by name, in the order in which they are shown, with the requirements that it serves."""
        return {**CONTROLS, **{name: control.requirements for name, control in self._offered.items()}}

    async def _sweep_ran(self, now: datetime) -> Check:
        hours = self._settings.purge.sweep_interval_hours
        if not hours:
            return _unused("purge.sweep_interval_hours is 0: sweeps run only on request")
        limit = timedelta(hours=hours * SWEEPS_MISSED)
        last = await self._storage.last_sweep()
        if last is None:
            return _judged(now - await self._beginning.at(now) <= limit, "no sweep has been recorded")
        ended = format_time(last.finished_at)
        if not last.completed and now - last.finished_at > min(BROKEN_OFF_FOR, limit):
            return _failing(f"the last sweep was interrupted at {ended}")
        return _judged(now - last.finished_at <= limit, f"the last sweep ended at {ended}")

    async def _nothing_overdue(self, now: datetime) -> Check:
        policies = await self._policy_cache.at((await self._queue.read()).revision)
        grace = sweep_grace(policies, now, self._settings.purge.sweep_interval_hours)
        found = await find_overdue(
            self._storage, policies, now, grace, max_listed=0, look_at=self._max_overdue_read, page=self._expired_page
        )
        if found.count:
            least = "" if found.is_whole else "at least "
            return _failing(f"{least}{found.count} entries have expired and the last sweep did not purge them")
        return _fine("no entry is overdue except those under legal hold")

    async def _attestation_current(self, now: datetime) -> Check:
        due_at = await self._beginning.attestation_due_at(now)
        if due_at is None:
            return _unused("compliance.attestation_interval_days is 0: attestations are off")
        return _judged(now < due_at, f"the next attestation is due at {format_time(due_at)}")

    async def _log_signed(self, now: datetime) -> Check:
        if not self._is_signed:
            return _unused("no signing key is set: the transparency log has no checkpoints")
        interval = self._settings.audit.checkpoint_interval_seconds
        limit = timedelta(seconds=max(LEAST_UNSIGNED_SECONDS, INTERVALS_UNSIGNED * interval))
        waits_since = await self._waits_since()
        if waits_since is not None and now - waits_since > limit:
            return _failing(f"a row of {format_time(waits_since)} is not covered by a checkpoint")
        return _fine("every row older than the limit is covered by a checkpoint")

    async def _log_consistent(self) -> Check:
        if not await self._quarantine.is_lifted():
            return _failing(f"quarantine: {self._quarantine.why}")
        if self._is_inconsistent():
            return _failing("the stored tree is not the one that was signed")
        if not self._is_signed:
            return _unused("no signing key is set: the transparency log has no checkpoints")
        return _fine("the stored log continues every checkpoint that is known")

    async def _log_verified(self, now: datetime) -> Check:
        if not self._verifier.is_enabled:
            return _unused("no signing key is set, or audit.verify_interval_hours is 0")
        due_at = await self._verifier.due_at(now)
        last = self._verifier.known
        if last is None:
            return _judged(now <= due_at, "no verification of the log has been recorded")
        archived = f" ({last.archived} of them in archives, by their hashes)" if last.archived else ""
        reach = f"{last.leaves} leaves{archived}, {last.entries} entries and {last.values} values"
        ended = format_time(last.finished_at)
        if not last.is_good:
            return _failing(
                f"the verification that ended at {ended} found {last.findings} differences: {last.listed[0]}"
            )
        return _judged(now <= due_at, f"the last verification ended at {ended} and covered {reach}")

    async def _waits_since(self) -> datetime | None:
        """Return the time of the oldest row not covered by a checkpoint, or of one of the oldest."""
        newest = await self._storage.newest_checkpoint()
        signed = newest.size if newest else 0
        places = [leaf.place for leaf in await self._storage.unsequenced(1)]
        if await self._storage.tree_size() > signed:
            places += [leaf.place for leaf in await self._storage.leaf_rows(signed, 1)]
        times = [at for place in places if (at := await self._time_of(place))]
        return min(times, default=None)

    async def _time_of(self, place: RowPlace) -> datetime | None:
        query = LogQuery(limit=1, after=place.position - 1, oldest_first=True)
        if place.log is LogName.ACCESS:
            return next((row.record.at for row in await self._storage.access_log(query)), None)
        return next((row.record.purged_at for row in await self._storage.purge_log(query)), None)

    async def _anchor_fresh(self, now: datetime) -> Check:
        if not self._anchors or not self._is_signed:
            return _unused(
                "no anchor is configured" if self._is_signed else "no signing key is set: there is nothing to keep"
            )
        if not await self._quarantine.is_lifted():
            return _failing("quarantine: the database does not continue a checkpoint that an anchor holds")
        stale = [why for anchor in self._anchors if (why := await self._lacks(anchor, now))]
        return _failing("; ".join(stale)) if stale else _fine("every anchor holds the recent checkpoints")

    async def _lacks(self, anchor: Anchor, now: datetime) -> str | None:
        """Return what is wrong with an anchor: its own failure, or a checkpoint it should hold by now."""
        try:
            failure = await call_plugin(anchor, anchor.failure, (str, type(None)), ANCHOR_SECONDS)
            if failure is not None:
                return f"{anchor.name} could not store a checkpoint: {failure}"
            if self._asked_lately(anchor) and await self._missing(anchor, now) is None:
                return None
            note = await call_plugin(anchor, anchor.newest, (str, type(None)), ANCHOR_SECONDS)
            size = SignedHead.parse(note).head.size if note is not None else 0
        except (PluginFailed, NoteRefused):
            self._anchored.pop(anchor.name, None)
            return f"{anchor.name} cannot return its newest checkpoint"
        self._anchored[anchor.name] = size, time.monotonic()
        missing = await self._missing(anchor, now)
        return f"{anchor.name} lacks the checkpoint of {format_time(missing)}" if missing else None

    def _asked_lately(self, anchor: Anchor) -> bool:
        """Whether a recent answer of this anchor, which may be remote, still shows nothing missing."""
        asked = self._anchored.get(anchor.name)
        return asked is not None and time.monotonic() - asked[1] < self._min_unanchored_seconds

    async def _missing(self, anchor: Anchor, now: datetime) -> datetime | None:
        """Return when the first checkpoint was signed that the anchor should hold by now and did not when last asked."""
        size, _ = self._anchored[anchor.name]
        limit = timedelta(seconds=max(self._min_unanchored_seconds, 2 * anchor.interval_seconds))
        following = await self._storage.checkpoints(size, 1)
        return following[0].signed_at if following and now - following[0].signed_at > limit else None

    async def _deliveries_current(self, now: datetime, recorded: ControlChange | None) -> Check:
        if not self._deliveries.is_in_use:
            return _unused("no plugin observes the log")
        late = await self._deliveries.late(now)
        stopped = [each for each in late if each.has_stopped]
        if stopped:
            told = "; ".join(f"{each.name} has not taken a record of {format_time(each.since)}" for each in stopped)
            return _failing(told)
        is_undecided = any(each.has_stopped is None for each in late)
        if is_undecided and recorded is not None and recorded.state is ControlState.FAILING:
            return _failing(recorded.detail)
        return _fine("every delivery is current or catching up")

    async def _export_current(self, now: datetime) -> Check:
        if not self._exports.is_in_use:
            return _unused("the settings have no [[export]]")
        late = await self._exports.late(now)
        if late:
            return _failing("; ".join(f"{each.name} waits for the row of {format_time(each.since)}" for each in late))
        return _fine("every export has the rows that are five minutes old")

    async def _storage_durable(self) -> Check:
        described = self._storage.describe()
        if warning := described.get("durability_warning"):
            return _failing(str(warning))
        durable = described.get("durable")
        if not isinstance(durable, bool):
            return _unused("the storage does not report whether acknowledged writes survive a power cut")
        return _judged(durable, f"acknowledged writes {'survive' if durable else 'may not survive'} a power cut")

    async def _storage_has_room(self) -> Check:
        full = self._storage.describe().get("full")
        if not isinstance(full, bool):
            return _unused("the storage does not report whether its disk is full")
        return _judged(not full, "the disk is full: nothing is stored" if full else "the last write found room")

    async def _values_intact(self) -> Check:
        count = self._corrupt_values()
        if count:
            return _failing(f"{count} entries had a value that differs from its hash when this process read them")
        return _fine("every value that this process read is the one that was stored")

    async def _clock_sane(self) -> Check:
        state = await self._watch.look()
        if state.leap:
            return _failing(
                "the clock jumped forward by more than a day: sweeps are stopped until an operator confirms the time"
            )
        if state.behind:
            return _failing("the clock went back: the vault's time stands still until the clock has caught up")
        return _fine("the clock continues from the last time it was read")

    async def _certificates_valid(self, now: datetime) -> Check:
        ends = self.certificates() if self.certificates else {}
        if not ends:
            return _unused("this process presents no certificate")
        told = ", ".join(f"{name} until {format_time(at)}" for name, at in sorted(ends.items()))
        return _judged(min(ends.values()) > now, told)


async def _offered(control: VaultControl, now: datetime) -> Check:
    """Return how a plugin's control stands; one that raises, is late or answers anything else is failing."""
    try:
        check: Check = await call_plugin(control, lambda: control.check(now), Check, CONTROL_SECONDS)
    except PluginFailed:
        return _failing("its plugin failed")
    is_sound = isinstance(check.state, ControlState) and isinstance(check.detail, str)
    return check if is_sound else _failing("its plugin gave an unusable answer")


async def _looked(name: str, look: Callable[[], Awaitable[Check]]) -> Check:
    try:
        return await look()
    except VaultError as error:
        return _failing(f"the check failed: {error.slug}")
    except Exception:
        log.exception("a control could not be checked", extra={"control": name})
        return _failing("the check failed")


def _judged(is_fine: bool, detail: str) -> Check:
    return Check(ControlState.OK if is_fine else ControlState.FAILING, detail)


def _fine(detail: str) -> Check:
    return Check(ControlState.OK, detail)


def _failing(detail: str) -> Check:
    return Check(ControlState.FAILING, detail)


def _unused(detail: str) -> Check:
    return Check(ControlState.NOT_IN_USE, detail)
