"""Leases, secrets, marks, cursors, usage, runs, controls and attestations, over items that are compared and set."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from vsqlvault.errors import SettingsInvalid, StorageUnavailable
from vsqlvault.interfaces.purge_storage import ScrubOutcome
from vsqlvault.interfaces.storage import ClockReading
from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.control import ControlChange
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.database_access import DatabaseAccess
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.purge import ScrubRecord, SweepRecord, SweepRuns
from vsqlvault.model.times import to_micros
from vsqlvault.model.transparency import LogName
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.storage_defaults.basic import BasicWrite, ItemIs, ItemKey, ItemRange, PutItem, number_name, time_name
from vsqlvault.storage_defaults.codec import decode, encode
from vsqlvault.storage_defaults.lowering import (
    ACCESS_REVIEW,
    ARCHIVE,
    ATTESTATION,
    CONTROL,
    CONTROL_CHANGE,
    SCRUB,
    SWEEP,
)
from vsqlvault.storage_defaults.required import MARK, MAX_ATTEMPTS, PAGE, RequiredStorage, mark_of

Run = TypeVar("Run", SweepRecord, ScrubRecord)
CURSOR, LEASE, SECRET, USAGE = "cursor", "lease", "secret", "usage"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Lease:
    holder: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Usage:
    method: str
    credential_id: str
    first_used_at: datetime
    last_used_at: datetime


class RecordDefaults(RequiredStorage):
    """Derives everything that is small, changes on its own, and belongs to no entry."""

    async def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        """See ``Storage.acquire_lease``."""
        key = ItemKey(LEASE, name.encode())
        for _ in range(MAX_ATTEMPTS):
            old, now = await self.item(key), await self.now()
            lease = None if old is None else decode(_Lease, old)
            if lease is not None and lease.holder != holder and lease.expires_at > now:
                return False
            wanted = _Lease(holder, now + timedelta(seconds=seconds))
            if await self.swap([ItemIs(key, old)], [PutItem(key, encode(wanted))]):
                return True
        raise StorageUnavailable("a lease was changed by others too often")

    async def release_lease(self, name: str, holder: str) -> None:
        """See ``Storage.release_lease``."""
        key = ItemKey(LEASE, name.encode())
        old = await self.item(key)
        if old is not None and decode(_Lease, old).holder == holder:
            await self.swap([ItemIs(key, old)], [PutItem(key, None)])

    async def secret(self, name: str) -> bytes:
        """See ``Storage.secret``."""
        key = ItemKey(SECRET, name.encode())
        await self._create(key, secrets.token_bytes(SECRET_BYTES))
        found = await self.item(key)
        if found is None or len(found) != SECRET_BYTES:
            raise StorageUnavailable("a secret is missing or damaged")
        return found

    async def _create(self, key: ItemKey, value: bytes) -> None:
        if await self.item(key) is None:
            await self.swap([ItemIs(key, None)], [PutItem(key, value)])

    async def clock(self) -> ClockReading:
        """See ``Storage.clock``."""
        return ClockReading(await self.now(), mark_of(await self.item(MARK)))

    async def raise_mark(self, at: datetime) -> None:
        """See ``Storage.raise_mark``."""
        await self.raise_item(MARK, to_micros(at))

    async def cursors(self) -> Mapping[str, int]:
        """See ``Storage.cursors``."""
        found = self.all_items(ItemRange(table=CURSOR, limit=PAGE))
        return {item.name.decode(): int(item.value) async for item in found}

    async def save_cursor(self, name: str, position: int) -> None:
        """See ``Storage.save_cursor``."""
        await self.raise_item(ItemKey(CURSOR, name.encode()), position)

    async def record_usages(self, uses: Mapping[CredentialName, datetime]) -> None:
        """See ``Storage.record_usages``. Those that others change meanwhile are tried again."""
        left = {_usage_name(name): (name, at) for name, at in uses.items()}
        for _ in range(MAX_ATTEMPTS):
            stored = await self.items(USAGE, left) if left else {}
            writes = [_usage_write(key, stored.get(key), *of) for key, of in left.items()]
            results = await self.apply(writes) if writes else []
            left = {key: of for (key, of), result in zip(left.items(), results, strict=True) if result is not None}
            if not left:
                return
        raise StorageUnavailable("the usage of credentials was changed by others too often")

    async def credential_uses(self) -> Mapping[CredentialName, CredentialUse]:
        """See ``Storage.credential_uses``."""
        found = [decode(_Usage, item.value) async for item in self.all_items(ItemRange(table=USAGE, limit=PAGE))]
        return {
            CredentialName(use.method, use.credential_id): CredentialUse(use.first_used_at, use.last_used_at)
            for use in found
        }

    async def scrub(self, lock_seconds: float) -> ScrubOutcome | None:  # noqa: ARG002 - for those that override it
        """See ``PurgeStorage.scrub``. By default, a storage has no scrub: ``describe`` lists where purged bytes remain."""
        return None

    async def last_sweep(self) -> SweepRecord | None:
        """See ``PurgeStorage.last_sweep``."""
        return await self._last(SWEEP, SweepRecord)

    async def sweeps(self, since: datetime, until: datetime, limit: int) -> SweepRuns:
        """See ``PurgeStorage.sweeps``."""
        runs = await self._runs(SWEEP, SweepRecord, since, until)
        return SweepRuns(
            count=len(runs),
            purged=sum(run.purged for run in runs),
            failed=sum(run.failed for run in runs),
            not_completed=sum(not run.completed for run in runs),
            newest=tuple(runs[:limit]),
        )

    async def last_scrub(self) -> ScrubRecord | None:
        """See ``PurgeStorage.last_scrub``."""
        return await self._last(SCRUB, ScrubRecord)

    async def scrubs(self, since: datetime, until: datetime, limit: int) -> Sequence[ScrubRecord]:
        """See ``PurgeStorage.scrubs``."""
        return (await self._runs(SCRUB, ScrubRecord, since, until))[:limit]

    async def _last(self, table: str, kind: type[Run]) -> Run | None:
        page = await self.item_range(ItemRange(table=table, limit=1, descending=True))
        return decode(kind, page[0].value) if page else None

    async def _runs(self, table: str, kind: type[Run], since: datetime, until: datetime) -> list[Run]:
        """Return the runs that ended in the period, newest first."""
        wanted = ItemRange(table=table, first=time_name(since), until=time_name(until), limit=PAGE, descending=True)
        return [decode(kind, item.value) async for item in self.all_items(wanted)]

    async def control_states(self) -> Sequence[ControlChange]:
        """See ``WatchStorage.control_states``."""
        found = self.all_items(ItemRange(table=CONTROL, limit=PAGE))
        return [decode(ControlChange, item.value) async for item in found]

    async def control_changes(self, since: datetime, until: datetime, limit: int) -> Sequence[ControlChange]:
        """See ``WatchStorage.control_changes``."""
        wanted = ItemRange(table=CONTROL_CHANGE, first=time_name(since), until=time_name(until), limit=limit)
        return [decode(ControlChange, item.value) for item in await self.item_range(wanted)]

    async def attestations(self, before: int | None, limit: int) -> Sequence[Attestation]:
        """See ``WatchStorage.attestations``."""
        until = None if before is None else number_name(before)
        page = await self.item_range(ItemRange(table=ATTESTATION, until=until, limit=limit, descending=True))
        return [decode(Attestation, item.value) for item in page]

    async def database_access(self) -> DatabaseAccess | None:
        """See ``WatchStorage.database_access``. By default, it is unknown."""
        return None

    async def access_reviews(self, before: int | None, limit: int) -> Sequence[AccessReview]:
        """See ``WatchStorage.access_reviews``."""
        until = None if before is None else number_name(before)
        page = await self.item_range(ItemRange(table=ACCESS_REVIEW, until=until, limit=limit, descending=True))
        return [decode(AccessReview, item.value) for item in page]

    async def newest_access_reviews(self, as_of: datetime) -> Sequence[AccessReview]:
        """See ``WatchStorage.newest_access_reviews``. Every review is read."""
        newest: dict[str | None, AccessReview] = {}
        async for item in self.all_items(ItemRange(table=ACCESS_REVIEW, limit=PAGE)):
            review = decode(AccessReview, item.value)
            if review.at <= as_of:
                newest[review.purpose] = review
        return sorted(newest.values(), key=lambda review: review.number)

    async def archives(self) -> Sequence[LogArchive]:
        """See ``ArchiveStorage.archives``."""
        return [decode(LogArchive, item.value) async for item in self.all_items(ItemRange(table=ARCHIVE, limit=PAGE))]

    async def drop_archived(self, log: LogName, first: int, limit: int) -> int | None:  # noqa: ARG002 - as for scrub
        """See ``ArchiveStorage.drop_archived``. By default, a storage cannot drop rows."""
        raise SettingsInvalid(
            "storage.database_url: expected a storage that can drop archived rows of the log, such as PostgreSQL or SQLite"
        )

    async def reclaim(self) -> bool:
        """See ``ArchiveStorage.reclaim``. Nothing was dropped."""
        return False


def _usage_name(name: CredentialName) -> bytes:
    """Return a name of a fixed length: a credential's id may be long."""
    return sha256(f"{name.method}\0{name.credential_id}".encode()).digest()


def _usage_write(key: bytes, stored: bytes | None, name: CredentialName, at: datetime) -> BasicWrite:
    old = None if stored is None else decode(_Usage, stored)
    first, last = (min(old.first_used_at, at), max(old.last_used_at, at)) if old else (at, at)
    item = ItemKey(USAGE, key)
    return BasicWrite([ItemIs(item, stored)], [PutItem(item, encode(_Usage(*name, first, last)))])
