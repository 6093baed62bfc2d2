"""The two logs: every filter, both directions, and cursors that neither skip nor repeat."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.interfaces.storage import ACCESS_LOG_FILTERS, PURGE_LOG_FILTERS, LogQuery, LogRow, Storage
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.testing.driving import StorageKit, committed, driven
from vsqlvault.testing.samples import T0, a_purge_record, a_write, an_access_record, an_entry

SECOND = timedelta(seconds=1)
TIMES = [T0 + SECOND * n for n in (0, 0, 0, 1, 2, 2, 3)]
Pager = Callable[[LogQuery], Awaitable[Sequence[LogRow[Any]]]]


def _access_records(count: int = 60) -> list[AccessRecord]:
    chance = random.Random(1)  # noqa: S311 - the same each time
    return [
        an_access_record(
            at=chance.choice(TIMES),
            request_id=f"r{number % 20}",
            operation=chance.choice([Operation.STORE, Operation.RETRIEVE]),
            outcome=chance.choice(list(Outcome)),
            status=chance.choice([200, 403, 404]),
            purpose=chance.choice(["card", "ach", None]),
            external_id=chance.choice(["pay-1", "pay-2", None]),
            app=chance.choice(["payments", "shop", None]),
            identity=chance.choice(["jane", "joe", None]),
            method=chance.choice(["api-key", "jwt", None]),
            credential_id=chance.choice(["c1", "c2", None]),
            client_address=chance.choice(["192.0.2.1", "2001:db8::1", None]),
            reason=chance.choice(["expired", "not_found", None]),
            policy=chance.choice(["owner-only", "tellers", None]),
        )
        for number in range(count)
    ]


def _purge_records(count: int = 60) -> list[PurgeRecord]:
    chance = random.Random(2)  # noqa: S311 - the same each time
    return [
        a_purge_record(
            an_entry(
                chance.choice(["pay-1", "pay-2"]),
                purpose=chance.choice(["card", "ach"]),
                key_ref=chance.choice(["k1", "k2", None]),
                owner_app=chance.choice(["payments", "shop"]),
            ),
            purged_at=chance.choice(TIMES),
            method=chance.choice(["physical-delete", "crypto-shred"]),
            reason=chance.choice(list(PurgeReason)),
            app=chance.choice(["payments", "vsqlvault"]),
            request_id=f"r{number % 20}",
        )
        for number in range(count)
    ]


async def _all_rows(pager: Pager, query: LogQuery) -> list[LogRow[Any]]:
    found: list[LogRow[Any]] = []
    while True:
        after = found[-1].position if found else None
        page = await pager(replace(query, after=after))
        assert len(page) <= query.limit
        found += page
        if len(page) < query.limit:
            return found


async def _records(pager: Pager, query: LogQuery) -> list[Any]:
    rows = await _all_rows(pager, query)
    positions = [row.position for row in rows]
    assert positions == sorted(set(positions), reverse=not query.oldest_first)
    return [row.record for row in rows]


def _same(found: list[Any], wanted: list[Any]) -> bool:
    """Whether both hold the same records, each as often: the order among equal times is the storage's own."""
    return sorted(map(repr, found)) == sorted(map(repr, wanted))


class LogConformance(StorageKit):
    """Reading the access log and the purge log."""

    @pytest.mark.parametrize("oldest_first", [True, False], ids=["oldest first", "newest first"])
    @pytest.mark.parametrize("column", ACCESS_LOG_FILTERS)
    @driven
    async def test_each_filter_of_the_access_log_finds_what_a_plain_loop_finds(
        self, storage: Storage, column: str, oldest_first: bool
    ) -> None:
        records = _access_records()
        await committed(storage, *(Write((record,)) for record in records))
        for value in {getattr(record, column) for record in records} - {None}:
            query = LogQuery(limit=7, oldest_first=oldest_first, equals={column: value})
            wanted = [record for record in records if getattr(record, column) == value]
            assert _same(await _records(storage.access_log, query), wanted), value

    @pytest.mark.parametrize("oldest_first", [True, False], ids=["oldest first", "newest first"])
    @pytest.mark.parametrize("column", PURGE_LOG_FILTERS)
    @driven
    async def test_each_filter_of_the_purge_log_finds_what_a_plain_loop_finds(
        self, storage: Storage, column: str, oldest_first: bool
    ) -> None:
        records = _purge_records()
        await committed(storage, *(a_write(purges=(record,)) for record in records))
        for value in {getattr(record, column) for record in records} - {None}:
            query = LogQuery(limit=7, oldest_first=oldest_first, equals={column: value})
            wanted = [record for record in records if getattr(record, column) == value]
            assert _same(await _records(storage.purge_log, query), wanted), value

    @pytest.mark.parametrize("column", [*ACCESS_LOG_FILTERS])
    @driven
    async def test_a_value_that_no_access_row_has_finds_nothing(self, storage: Storage, column: str) -> None:
        await committed(storage, *(Write((record,)) for record in _access_records()))
        value: str | int = 999 if column == "status" else "%"
        assert not await storage.access_log(LogQuery(limit=7, equals={column: value}))

    @driven
    async def test_filters_hold_together(self, storage: Storage) -> None:
        records = _access_records(200)
        await committed(storage, *(Write((record,)) for record in records))
        query = LogQuery(
            limit=5,
            since=T0 + SECOND,
            until=T0 + SECOND * 3,
            equals={"outcome": "granted", "status": 200, "purpose": "card"},
        )
        wanted = [
            record
            for record in records
            if record.outcome is Outcome.GRANTED
            and (record.status, record.purpose) == (200, "card")
            and T0 + SECOND <= record.at < T0 + SECOND * 3
        ]
        assert wanted
        assert _same(await _records(storage.access_log, query), wanted)

    @pytest.mark.parametrize("limit", [1, 2, 3, 59, 60, 61])
    @pytest.mark.parametrize("oldest_first", [True, False], ids=["oldest first", "newest first"])
    @driven
    async def test_pages_of_the_access_log_are_complete_without_repeating(
        self, storage: Storage, limit: int, oldest_first: bool
    ) -> None:
        records = _access_records()
        await committed(storage, *(Write((record,)) for record in records))
        query = LogQuery(limit=limit, oldest_first=oldest_first)
        assert _same(await _records(storage.access_log, query), records)

    @pytest.mark.parametrize("limit", [1, 7, 60])
    @pytest.mark.parametrize("oldest_first", [True, False], ids=["oldest first", "newest first"])
    @driven
    async def test_pages_of_the_purge_log_are_complete_without_repeating(
        self, storage: Storage, limit: int, oldest_first: bool
    ) -> None:
        records = _purge_records()
        await committed(storage, *(a_write(purges=(record,)) for record in records))
        query = LogQuery(limit=limit, oldest_first=oldest_first)
        assert _same(await _records(storage.purge_log, query), records)

    @pytest.mark.parametrize("oldest_first", [True, False], ids=["oldest first", "newest first"])
    @driven
    async def test_rows_of_one_instant_are_paged_like_any_others(self, storage: Storage, oldest_first: bool) -> None:
        records = [an_access_record(request_id=f"r{number}") for number in range(23)]
        await committed(storage, *(Write((record,)) for record in records))
        query = LogQuery(limit=4, oldest_first=oldest_first)
        assert _same(await _records(storage.access_log, query), records)

    @driven
    async def test_one_order_is_the_other_backwards(self, storage: Storage) -> None:
        await committed(storage, *(Write((record,)) for record in _access_records()))
        newest = await storage.access_log(LogQuery(limit=100))
        oldest = await storage.access_log(LogQuery(limit=100, oldest_first=True))
        assert list(newest) == list(reversed(oldest))

    @driven
    async def test_a_log_is_in_the_order_of_its_commits_whatever_times_its_rows_have(self, storage: Storage) -> None:
        seconds = [5, 1, 9, 1, 0, 7]
        for number, second in enumerate(seconds):
            record = an_access_record(at=T0 + SECOND * second, request_id=f"r{number}")
            purge = a_purge_record(purged_at=T0 + SECOND * second, request_id=f"r{number}")
            await committed(storage, Write((record,), purges=(purge,)))
        for pager in (storage.access_log, storage.purge_log):
            found = await _records(pager, LogQuery(limit=2, oldest_first=True))
            assert [record.request_id for record in found] == [f"r{number}" for number in range(len(seconds))]

    @driven
    async def test_a_row_with_an_early_time_that_comes_late_is_found_after_a_cursor(self, storage: Storage) -> None:
        await committed(storage, *(Write((an_access_record(at=T0 + SECOND * n),)) for n in range(3)))
        seen = await storage.access_log(LogQuery(limit=10, oldest_first=True))
        await committed(storage, Write((an_access_record(at=T0, request_id="late"),)))
        (row,) = await storage.access_log(LogQuery(limit=10, oldest_first=True, after=seen[-1].position))
        assert row.record.request_id == "late"

    @driven
    async def test_since_is_inclusive_and_until_exclusive(self, storage: Storage) -> None:
        await committed(storage, *(Write((an_access_record(at=T0 + SECOND * n),)) for n in range(5)))
        await committed(storage, *(a_write(purges=(a_purge_record(purged_at=T0 + SECOND * n),)) for n in range(5)))
        query = LogQuery(limit=10, since=T0 + SECOND, until=T0 + SECOND * 3, oldest_first=True)
        wanted = [T0 + SECOND, T0 + SECOND * 2]
        assert [row.record.at for row in await storage.access_log(query)] == wanted
        assert [row.record.purged_at for row in await storage.purge_log(query)] == wanted

    @driven
    async def test_rows_that_come_meanwhile_do_not_shift_a_page(self, storage: Storage) -> None:
        records = [an_access_record(at=T0 + SECOND * n, request_id=f"r{n}") for n in range(10)]
        await committed(storage, *(Write((record,)) for record in records))
        first = await storage.access_log(LogQuery(limit=5))
        await committed(storage, *(Write((an_access_record(at=T0 + SECOND * 99),)) for _ in range(10)))
        after = first[-1].position
        second = await storage.access_log(LogQuery(limit=5, after=after))
        assert [row.record.request_id for row in (*first, *second)] == [f"r{n}" for n in reversed(range(10))]

    @driven
    async def test_a_column_that_is_no_filter_is_refused(self, storage: Storage) -> None:
        with pytest.raises(ValueError, match="filter"):
            await storage.access_log(LogQuery(limit=5, equals={"1=1 --": 1}))
