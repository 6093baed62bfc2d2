"""The methods of a storage that only read, for a storage that knows how to answer a reading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from vsqlvault.interfaces.evidence import Evidence, EvidenceQuery
from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse
from vsqlvault.interfaces.storage import (
    ACCESS_LOG_FILTERS,
    PURGE_LOG_FILTERS,
    EntryQuery,
    KeyRefQuery,
    LogQuery,
    LogRow,
    PolicySnapshot,
    RetentionLimitChange,
    RetentionLimitEffect,
    VersionQuery,
)
from vsqlvault.interfaces.tree_storage import LeafRow
from vsqlvault.interfaces.watch_storage import PurgesByIdQuery
from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.control import ControlChange
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.entry import Entry
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord, ScrubRecord, SweepRecord, SweepRuns
from vsqlvault.model.transparency import Checkpoint, LogName
from vsqlvault_plugins.storage.sql import evidence, pages, records, tree
from vsqlvault_plugins.storage.sql.counted_entries import EntryCounts
from vsqlvault_plugins.storage.sql.reading import Answer, Other, Reading, both
from vsqlvault_plugins.storage.sql.rows import Rows


class SqlReads(ABC):
    """Reads by the shared queries. A storage adds what changes the tables, and what its database does in its own way."""

    rows: ClassVar[Rows]

    @abstractmethod
    async def _answer(self, reading: Reading[Answer], *, is_short: bool = False, consistently: bool = False) -> Answer:
        """Answer a reading. ``is_short``: a few rows. ``consistently``: all its queries from one state."""

    @abstractmethod
    def _count_entries(self, query: EvidenceQuery) -> Reading[EntryCounts]:
        """Count entries that are not purged, in each purpose with a policy."""

    @abstractmethod
    def _key_uses(self, counts: EntryCounts, as_of: datetime) -> Reading[evidence.KeyUses]:
        """Return the use of each listed key."""

    async def _answer_both(self, first: Reading[Answer], second: Reading[Other]) -> tuple[Answer, Other]:
        """Answer two long readings from one state."""
        return await self._answer(both(first, second), consistently=True)

    async def _settled(self, log: LogName) -> int | None:
        """Return the position up to which no row can be added any more; None: it is that of the newest row."""
        del log
        return None

    async def policy_snapshot(self) -> PolicySnapshot:
        """See ``Storage.policy_snapshot``."""
        return await self._answer(records.policy_snapshot(self.rows), is_short=True, consistently=True)

    async def revoked_keys(self) -> frozenset[str]:
        """See ``Storage.revoked_keys``."""
        return await self._answer(records.revoked_keys(), is_short=True)

    async def access_policy_versions(self, query: VersionQuery) -> Sequence[AccessPolicy]:
        """See ``Storage.access_policy_versions``."""
        return await self._answer(records.versions(self.rows.access_policy_of, "access_policy_versions", query))

    async def retention_policy_versions(self, query: VersionQuery) -> Sequence[RetentionPolicy]:
        """See ``Storage.retention_policy_versions``."""
        return await self._answer(records.versions(self.rows.retention_policy_of, "retention_policy_versions", query))

    async def legal_hold_versions(self, query: VersionQuery) -> Sequence[LegalHold]:
        """See ``Storage.legal_hold_versions``."""
        return await self._answer(records.versions(self.rows.legal_hold_of, "legal_hold_versions", query))

    async def entries(self, query: EntryQuery) -> Sequence[Entry]:
        """See ``Storage.entries``."""
        return await self._answer(pages.entries(self.rows, query))

    async def expired_entries(self, query: ExpiredQuery) -> Sequence[Entry]:
        """See ``PurgeStorage.expired_entries``."""
        return await self._answer(pages.expired_entries(self.rows, query))

    async def count_expired(self, at: datetime, retention_limits: Mapping[str, datetime]) -> int:
        """See ``PurgeStorage.count_expired``."""
        return await self._answer(pages.count_expired(at, retention_limits))

    async def access_log(self, query: LogQuery) -> Sequence[LogRow[AccessRecord]]:
        """See ``Storage.access_log``."""
        pages.check_filters(query, ACCESS_LOG_FILTERS)
        settled = await self._settled(LogName.ACCESS) if query.oldest_first else None
        return await self._answer(pages.access_log(self.rows, query, settled))

    async def purge_log(self, query: LogQuery) -> Sequence[LogRow[PurgeRecord]]:
        """See ``Storage.purge_log``."""
        pages.check_filters(query, PURGE_LOG_FILTERS)
        settled = await self._settled(LogName.PURGE) if query.oldest_first else None
        return await self._answer(pages.purge_log(self.rows, query, settled))

    async def entry_statistics(
        self, as_of: datetime, retention_limits: Mapping[str, datetime], known_policies: Sequence[str]
    ) -> EntryStatistics:
        """See ``Storage.entry_statistics``."""
        reading = pages.entry_statistics(as_of, retention_limits, known_policies)
        return await self._answer(reading, consistently=True)

    async def evidence(self, query: EvidenceQuery) -> Evidence:
        """See ``Storage.evidence``."""
        of_entries = evidence.of_entries(self.rows, query, self._count_entries, self._key_uses)
        members = await self._answer_both(of_entries, evidence.of_logs(self.rows, query))
        return Evidence(**members[0], **members[1])

    async def key_refs(self, query: KeyRefQuery) -> Sequence[KeyRefUse]:
        """See ``Storage.key_refs``."""
        return await self._answer(pages.key_refs(self.rows, query), consistently=True)

    async def retention_limit_effect(self, change: RetentionLimitChange) -> RetentionLimitEffect:
        """See ``Storage.retention_limit_effect``."""
        return await self._answer(pages.retention_limit_effect(self.rows, change))

    async def sweeps(self, since: datetime, until: datetime, limit: int) -> SweepRuns:
        """See ``PurgeStorage.sweeps``."""
        return await self._answer(records.sweeps(self.rows, since, until, limit))

    async def last_sweep(self) -> SweepRecord | None:
        """See ``PurgeStorage.last_sweep``."""
        return await self._answer(records.first_decoded(self.rows.sweep_of, "last_sweep"), is_short=True)

    async def scrubs(self, since: datetime, until: datetime, limit: int) -> Sequence[ScrubRecord]:
        """See ``PurgeStorage.scrubs``."""
        span = {"since": since, "until": until, "limit": limit}
        return await self._answer(records.decoded(self.rows.scrub_of, "scrubs_between", **span))

    async def last_scrub(self) -> ScrubRecord | None:
        """See ``PurgeStorage.last_scrub``."""
        return await self._answer(records.first_decoded(self.rows.scrub_of, "last_scrub"), is_short=True)

    async def tree_size(self) -> int:
        """See ``TreeStorage.tree_size``."""
        return await self._answer(tree.tree_size(), is_short=True)

    async def newest_checkpoint(self) -> Checkpoint | None:
        """See ``TreeStorage.newest_checkpoint``."""
        reading = records.first_decoded(self.rows.checkpoint_of, "newest_checkpoint")
        return await self._answer(reading, is_short=True)

    async def checkpoints(self, after: int, limit: int) -> Sequence[Checkpoint]:
        """See ``TreeStorage.checkpoints``."""
        reading = records.decoded(self.rows.checkpoint_of, "checkpoints", after=after, limit=limit)
        return await self._answer(reading)

    async def leaf_rows(self, first: int, count: int) -> Sequence[LeafRow]:
        """See ``TreeStorage.leaf_rows``."""
        return await self._answer(tree.leaf_rows(self.rows, first, count), consistently=True)

    async def purge_index(self, purge_id: str) -> int | None:
        """See ``TreeStorage.purge_index``."""
        return await self._answer(tree.purge_index(purge_id))

    async def row_positions(self, log: LogName, after: int | None, until: int | None, limit: int) -> Sequence[int]:
        """See ``TreeStorage.row_positions``."""
        return await self._answer(tree.row_positions(log, after, until, limit))

    async def control_states(self) -> Sequence[ControlChange]:
        """See ``WatchStorage.control_states``."""
        return await self._answer(records.decoded(self.rows.control_change_of, "control_states"), is_short=True)

    async def control_changes(self, since: datetime, until: datetime, limit: int) -> Sequence[ControlChange]:
        """See ``WatchStorage.control_changes``."""
        span = {"since": since, "until": until, "limit": limit}
        return await self._answer(records.decoded(self.rows.control_change_of, "control_changes", **span))

    async def attestations(self, before: int | None, limit: int) -> Sequence[Attestation]:
        """See ``WatchStorage.attestations``."""
        before = records.NO_NUMBER if before is None else before
        reading = records.decoded(self.rows.attestation_of, "attestations", before=before, limit=limit)
        return await self._answer(reading)

    async def access_reviews(self, before: int | None, limit: int) -> Sequence[AccessReview]:
        """See ``WatchStorage.access_reviews``."""
        before = records.NO_NUMBER if before is None else before
        reading = records.decoded(self.rows.access_review_of, "access_reviews", before=before, limit=limit)
        return await self._answer(reading)

    async def newest_access_reviews(self, as_of: datetime) -> Sequence[AccessReview]:
        """See ``WatchStorage.newest_access_reviews``."""
        return await self._answer(records.decoded(self.rows.access_review_of, "newest_access_reviews", as_of=as_of))

    async def archives(self) -> Sequence[LogArchive]:
        """See ``ArchiveStorage.archives``."""
        return await self._answer(records.decoded(self.rows.archive_of, "archives"), is_short=True)

    async def purges_by_id(self, query: PurgesByIdQuery) -> Sequence[PurgeRecord]:
        """See ``WatchStorage.purges_by_id``."""
        return await self._answer(records.purges_by_id(self.rows, query))

    async def cursors(self) -> Mapping[str, int]:
        """See ``Storage.cursors``."""
        return await self._answer(records.cursors(), is_short=True)

    async def credential_uses(self) -> Mapping[CredentialName, CredentialUse]:
        """See ``Storage.credential_uses``."""
        return await self._answer(records.credential_uses(self.rows))
