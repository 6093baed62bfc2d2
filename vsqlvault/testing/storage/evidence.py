"""What the compliance report counts, compared with what plain loops over the same entries and rows count."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from vsqlvault.interfaces.evidence import (
    ENDING_WITHIN_DAYS,
    LAG_BOUNDS_SECONDS,
    MAX_LISTED_CHANGES,
    EvidenceQuery,
    Holding,
    PurgeCount,
    PurgeLag,
)
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.writes import DropAccessPolicy, SaveAccessPolicy, SaveRetentionPolicy, StoreEntry, Write
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.testing.driving import StorageKit, committed, driven
from vsqlvault.testing.samples import (
    T0,
    a_purge_record,
    a_retention_policy,
    a_write,
    an_access_policy,
    an_access_record,
    an_entry,
)

DAY = timedelta(days=1)
DAYS = {"card": 40, "ach": 365, "empty": 10}
GRACE = DAY * 2
SINCE, UNTIL = T0 - DAY * 30, T0


def _query(as_of: datetime = T0, **fields: Any) -> EvidenceQuery:
    usual: dict[str, Any] = {
        "as_of": as_of,
        "since": SINCE,
        "until": UNTIL,
        "retention_limits": {purpose: as_of - DAY * days for purpose, days in DAYS.items()},
        "grace": GRACE,
    }
    return EvidenceQuery(**usual | fields)


def _population() -> list[Entry]:
    chance = random.Random(6)  # noqa: S311 - the same each time
    entries = []
    for number in range(300):
        created_at = T0 - DAY * chance.randrange(60)
        purged_at = T0 if number % 10 == 0 else None
        entries.append(
            an_entry(
                f"e{number}",
                purpose=chance.choice(["card", "ach"]),
                created_at=created_at,
                expires_at=created_at + DAY * chance.choice([1, 20, 58, 60, 90, 200, 500]),
                algorithm_hint=chance.choice([None, "AES-256-GCM", "none"]),
                key_ref=chance.choice([None, "k1", "k2"]),
                access_policy=chance.choice(["owner-only", "tellers"]),
                owner_app=chance.choice(["payments", "shop"]),
                purged_at=purged_at,
                purge_method="crypto-shred" if purged_at else None,
            )
        )
    return entries


def _there(entries: Sequence[Entry], as_of: datetime) -> list[Entry]:
    return [entry for entry in entries if entry.purged_at is None and entry.created_at <= as_of]


def _holdings(entries: Sequence[Entry], as_of: datetime) -> set[Holding]:
    groups: dict[tuple[Any, ...], list[Entry]] = defaultdict(list)
    for entry in _there(entries, as_of):
        groups[entry.purpose, entry.algorithm_hint, entry.access_policy, entry.owner_app].append(entry)
    found = set()
    for (purpose, hint, policy, owner), members in groups.items():
        ends = [entry.effective_expires_at(DAYS[purpose]) for entry in members]
        within = [sum(as_of < end <= as_of + DAY * days for end in ends) for days in ENDING_WITHIN_DAYS]
        found.add(
            Holding(
                purpose=purpose,
                algorithm_hint=hint,
                access_policy=policy,
                owner_app=owner,
                active=sum(end > as_of for end in ends),
                expired=sum(end <= as_of for end in ends),
                overdue=sum(end <= as_of - GRACE for end in ends),
                ending=(within[0], within[1], within[2]),
            )
        )
    return found


def _purges() -> list[PurgeRecord]:
    chance = random.Random(7)  # noqa: S311 - the same each time
    return [
        a_purge_record(
            purpose=chance.choice(["card", "ach"]),
            purged_at=(at := T0 - timedelta(hours=chance.randrange(60 * 24))),
            expired_at=at
            - timedelta(
                seconds=chance.choice([-86400, 0, 1, 3600, 3601, 86400, *(chance.randrange(10**7) for _ in range(4))])
            ),
            reason=chance.choice(list(PurgeReason)),
            method=chance.choice(["physical-delete", "crypto-shred"]),
            key_ref=chance.choice([None, "k1", "gone-1", "gone-2"]),
        )
        for _ in range(200)
    ]


def _in_period(records: Sequence[PurgeRecord]) -> list[PurgeRecord]:
    return [record for record in records if SINCE <= record.purged_at < UNTIL]


def _lag(lags: Sequence[timedelta]) -> PurgeLag:
    ranked = sorted(lags)
    p50, p99 = (ranked[math.ceil(len(ranked) * share / 100) - 1] for share in (50, 99))
    return PurgeLag(len(ranked), p50, p99, ranked[-1])


def _accesses() -> list[AccessRecord]:
    chance = random.Random(8)  # noqa: S311 - the same each time
    return [
        an_access_record(
            at=T0 - timedelta(hours=chance.randrange(60 * 24)),
            operation=chance.choice([Operation.RETRIEVE, Operation.STORE, Operation.AUTHENTICATE]),
            outcome=(outcome := chance.choice(list(Outcome))),
            reason="policy" if outcome is Outcome.DENIED else None,
            purpose=chance.choice([None, "card", "ach", "made-up"]),
            external_id=chance.choice([None, "pay-1"]),
            app=chance.choice([None, "payments", "shop"]),
            method=chance.choice([None, "api-key", "system"]),
            client_address=chance.choice([None, "10.0.0.1"]),
            count=chance.choice([1, 1, 7]),
            detail=chance.choice([None, "odd"]),
            role=chance.choice([None, "admin", "auditor"]),
            identity=chance.choice([None, "jane"]),
        )
        for _ in range(300)
    ]


class EvidenceConformance(StorageKit):
    """Counting for the compliance report."""

    @pytest.mark.parametrize("days", [0, 5, 59], ids=lambda days: f"{days} days ago")
    @driven
    async def test_the_holdings_are_those_of_a_plain_loop(self, storage: Storage, days: int) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries))
        as_of = T0 - DAY * days
        found = (await storage.evidence(_query(as_of))).holdings
        assert len(found) == len(set(found))
        assert set(found) == _holdings(entries, as_of)

    @pytest.mark.parametrize("days", [0, 5, 59], ids=lambda days: f"{days} days ago")
    @driven
    async def test_the_oldest_expiry_is_the_earlier_of_its_own_and_the_maximum(
        self, storage: Storage, days: int
    ) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries))
        as_of = T0 - DAY * days
        ends: dict[str, list[datetime]] = defaultdict(list)
        for entry in _there(entries, as_of):
            if (end := entry.effective_expires_at(DAYS[entry.purpose])) <= as_of:
                ends[entry.purpose].append(end)
        found = (await storage.evidence(_query(as_of))).oldest_expired_at
        assert dict(found) == {purpose: min(of) for purpose, of in ends.items()}

    @driven
    async def test_purges_of_the_period_are_counted_by_purpose_reason_and_method(self, storage: Storage) -> None:
        records = _purges()
        await committed(storage, *(a_write(purges=(record,)) for record in records))
        wanted = Counter((r.purpose, r.reason.value, r.method) for r in _in_period(records))
        found = (await storage.evidence(_query())).purges
        assert set(found) == {PurgeCount(*names, count) for names, count in wanted.items()}

    @driven
    async def test_lags_are_by_nearest_rank_over_what_was_purged_after_its_expiry(self, storage: Storage) -> None:
        records = _purges()
        await committed(storage, *(a_write(purges=(record,)) for record in records))
        lags: dict[str | None, list[timedelta]] = defaultdict(list)
        for record in _in_period(records):
            if (lag := record.purged_at - record.expired_at) >= timedelta():
                lags[None].append(lag)
                lags[record.purpose].append(lag)
        found = await storage.evidence(_query())
        assert dict(found.lags) == {purpose: _lag(of) for purpose, of in lags.items()}
        bounds = [timedelta(seconds=bound) for bound in LAG_BOUNDS_SECONDS]
        places = Counter(sum(lag > bound for bound in bounds) for lag in lags[None])
        assert list(found.lag_histogram) == [places[place] for place in range(len(bounds) + 1)]

    @driven
    async def test_a_key_is_retired_once_nothing_lies_under_it(self, storage: Storage) -> None:
        records = _purges()
        left = [an_entry("left", key_ref="k1"), an_entry("left-2", purpose="ach", key_ref="k1")]
        shredded = an_entry("shredded", key_ref="gone-1", purged_at=T0, purge_method="crypto-shred")
        await committed(storage, *(a_write(purges=(record,)) for record in records))
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in [*left, shredded]))
        last: dict[tuple[str, str], datetime] = {}
        for record in _in_period(records):
            if record.key_ref and record.key_ref != "k1":
                name = record.purpose, record.key_ref
                last[name] = max(record.purged_at, last.get(name, record.purged_at))
        found = (await storage.evidence(_query())).retired_keys
        assert [((key.purpose, key.key_ref), key.last_purged_at) for key in found] == sorted(last.items())

    @driven
    async def test_accesses_of_the_period_add_up_to_those_of_a_plain_loop(self, storage: Storage) -> None:
        records = _accesses()
        await committed(storage, *(Write((record,)) for record in records))
        groups: dict[tuple[Any, ...], list[AccessRecord]] = defaultdict(list)
        for record in records:
            if SINCE <= record.at < UNTIL:
                purpose = record.purpose if record.purpose in DAYS else None
                name = record.operation.value, record.outcome.value, record.reason, purpose, record.app, record.role
                groups[name].append(record)
        found = (await storage.evidence(_query())).access
        assert {(a.operation, a.outcome, a.reason, a.purpose, a.app, a.role) for a in found} == groups.keys()
        for count in found:
            rows = groups[count.operation, count.outcome, count.reason, count.purpose, count.app, count.role]
            assert (count.rows, count.events) == (len(rows), sum(row.count for row in rows))
            assert (count.first_at, count.last_at) == (min(row.at for row in rows), max(row.at for row in rows))
            assert count.without_app == sum(row.app is None for row in rows)
            assert count.without_origin == sum(row.client_address is None and row.method != "system" for row in rows)
            assert count.without_identity == sum(
                row.app is not None and row.identity is None and row.method != "system" for row in rows
            )
            assert count.without_subject == sum(
                row.operation is not Operation.AUTHENTICATE and row.external_id is None and row.detail is None
                for row in rows
            )

    @driven
    async def test_versions_of_policies_that_came_in_the_period_are_changes(self, storage: Storage) -> None:
        inside, outside = SINCE + DAY, SINCE - DAY
        await committed(
            storage,
            a_write(SaveRetentionPolicy(a_retention_policy(version=1, created_at=outside))),
            a_write(SaveRetentionPolicy(a_retention_policy(version=2, created_at=SINCE))),
            a_write(SaveAccessPolicy(an_access_policy("tellers", version=1, created_at=inside))),
            a_write(DropAccessPolicy("tellers", 2, "carol", inside + DAY)),
            a_write(SaveAccessPolicy(an_access_policy("later", version=1, created_at=UNTIL))),
        )
        found = await storage.evidence(_query())
        shown = [(c.kind, c.name, c.version, c.dropped, c.changed_at) for c in found.policy_changes]
        assert shown == [
            ("retention", "card", 2, False, SINCE),
            ("access", "tellers", 1, False, inside),
            ("access", "tellers", 2, True, inside + DAY),
        ]
        assert found.policy_changes[-1].changed_by == "carol"
        assert found.policy_changes_count == 3

    @driven
    async def test_of_many_changes_the_oldest_are_listed_and_all_are_counted(self, storage: Storage) -> None:
        total = MAX_LISTED_CHANGES + 3
        await committed(
            storage,
            *(
                a_write(SaveRetentionPolicy(a_retention_policy(version=n + 1, created_at=SINCE + timedelta(minutes=n))))
                for n in range(total)
            ),
        )
        found = await storage.evidence(_query())
        assert [change.version for change in found.policy_changes] == list(range(1, MAX_LISTED_CHANGES + 1))
        assert found.policy_changes_count == total

    @driven
    async def test_the_oldest_rows_are_those_of_the_whole_logs(self, storage: Storage) -> None:
        old = T0 - DAY * 900
        await committed(storage, Write((an_access_record(at=old),), purges=(a_purge_record(purged_at=old),)))
        await committed(storage, Write((an_access_record(at=T0),)))
        found = await storage.evidence(_query())
        assert (found.oldest_access_at, found.oldest_purge_at) == (old, old)

    @driven
    async def test_of_an_empty_vault_there_is_no_evidence(self, storage: Storage) -> None:
        found = await storage.evidence(_query())
        assert [*found.holdings, *found.purges, *found.retired_keys, *found.access, *found.policy_changes] == []
        assert (dict(found.lags), dict(found.oldest_expired_at)) == ({}, {})
        assert list(found.lag_histogram) == [0] * (len(LAG_BOUNDS_SECONDS) + 1)
        assert (found.oldest_access_at, found.oldest_purge_at) == (None, None)
