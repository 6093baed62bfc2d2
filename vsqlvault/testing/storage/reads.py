"""Reading entries, and getting back exactly what was put in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vsqlvault.interfaces.storage import LogQuery, Read, Storage
from vsqlvault.interfaces.writes import StoreEntry
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import EntryKey, EntryVersion, ValueEncoding
from vsqlvault.model.purge import PurgeReason
from vsqlvault.testing.driving import StorageKit, committed, driven, look
from vsqlvault.testing.samples import T0, a_purge_record, a_write, an_access_record, an_entry, storing

TEXTS = {
    "empty": "",
    "sql": "'; DROP TABLE entries; --",
    "quotes": "\"'`\\",
    "patterns": "%_*?[]",
    "template": "{0} {name} %s $1 :name ?",
    "null": "NULL",
    "number": "007",
    "blanks": "  two  spaces \t\r\n",
    "accents": "é e\u0301 ß İ",
    "right to left": "אבג \u200f عربي",
    "astral": "\U0001f510\U0010fffd",
    "long": "x" * 4000,
}
VALUES = {
    "one zero": b"\x00",
    "every byte": bytes(range(256)),
    "one mebibyte": bytes(range(256)) * 4096,
    "not text": b"\xff\xfe\xed\xa0\x80",
    "digits": b"0123456789",
    "looks like json": b'{"a": 1}',
}
ENTRY_TEXTS = ("algorithm_hint", "key_ref", "metadata", "owner_app", "owner_identity", "access_policy")
INSTANTS = (
    datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2000, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2127, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)


class ReadConformance(StorageKit):
    """Reads, and round trips of every field."""

    @driven
    async def test_a_read_without_a_key_brings_the_clock_and_the_revision_only(self, storage: Storage) -> None:
        (snapshot,) = await storage.read([Read()])
        assert (snapshot.entry, snapshot.value) == (None, None)
        assert snapshot.now.utcoffset() == timedelta(0)
        assert snapshot.revision >= 0

    @driven
    async def test_reading_what_is_not_there_finds_no_entry(self, storage: Storage) -> None:
        snapshot = await look(storage, "nobody")
        assert (snapshot.entry, snapshot.value) == (None, None)

    @driven
    async def test_the_value_comes_only_when_asked_for(self, storage: Storage) -> None:
        await committed(storage, storing(value=b"secret"))
        assert (await look(storage)).value == b"secret"
        without = await look(storage, with_value=False)
        assert without.entry is not None
        assert without.value is None

    @driven
    async def test_snapshots_come_in_the_order_of_the_reads(self, storage: Storage) -> None:
        await committed(storage, *(storing(f"e{n}", b"%d" % n) for n in range(20)))
        asked = ["e7", "e3", "none", "e7", "e19", "e0"]
        found = await storage.read([Read(EntryKey("card", name), with_value=True) for name in asked])
        assert [snapshot.value for snapshot in found] == [b"7", b"3", None, b"7", b"19", b"0"]

    @driven
    async def test_one_batch_of_reads_has_one_instant_and_one_revision(self, storage: Storage) -> None:
        found = await storage.read([Read(), *(Read(EntryKey("card", str(n))) for n in range(50))])
        assert len({(snapshot.now, snapshot.revision) for snapshot in found}) == 1

    @driven
    async def test_the_clock_does_not_go_back(self, storage: Storage) -> None:
        told = [(await storage.read([Read()]))[0].now for _ in range(20)]
        assert told == sorted(told)

    @driven
    async def test_a_read_sees_what_was_committed_before_it(self, storage: Storage) -> None:
        for version in range(1, 30):
            await committed(storage, storing(value=b"%d" % version, version=version))
            assert (await look(storage)).value == b"%d" % version

    @driven
    async def test_one_id_under_two_purposes_is_two_entries(self, storage: Storage) -> None:
        await committed(storage, storing(value=b"a", purpose="card"), storing(value=b"b", purpose="ach"))
        assert (await look(storage, purpose="card")).value == b"a"
        assert (await look(storage, purpose="ach")).value == b"b"

    @driven
    async def test_ids_that_differ_in_case_are_two_entries(self, storage: Storage) -> None:
        await committed(storage, storing("Pay", b"upper"), storing("pay", b"lower"))
        assert ((await look(storage, "Pay")).value, (await look(storage, "pay")).value) == (b"upper", b"lower")

    @pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
    @driven
    async def test_a_value_comes_back_byte_for_byte(self, storage: Storage, value: bytes) -> None:
        await committed(storage, storing(value=value))
        assert (await look(storage)).value == value

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    @pytest.mark.parametrize("name", ENTRY_TEXTS)
    @driven
    async def test_a_text_of_an_entry_comes_back_as_it_was(self, storage: Storage, name: str, text: str) -> None:
        fields: dict[str, Any] = {name: text}
        entry = an_entry(**fields)
        await committed(storage, a_write(StoreEntry(entry, b"cipher")))
        assert (await look(storage)).entry == entry

    @pytest.mark.parametrize("external_id", ["0", "-", "A.b_c:d@e~f-g", "null", "x" * 256])
    @driven
    async def test_an_id_comes_back_as_it_was(self, storage: Storage, external_id: str) -> None:
        await committed(storage, storing(external_id))
        found = (await look(storage, external_id)).entry
        assert found is not None
        assert found.external_id == external_id

    @pytest.mark.parametrize(
        "fields",
        [
            {"algorithm_hint": None, "key_ref": None, "owner_identity": None},
            {
                "encoding": ValueEncoding.BASE64,
                "owner_identity": "jane@example.org",
                "version": 2**31,
                "retrievals": 41,
            },
            {"metadata": '{"a":[1,2.5,null,true],"b":{"c":"d"}}', "access_policy": "no-such-policy"},
            {"purged_at": T0 + timedelta(microseconds=1), "purge_method": "crypto-shred"},
            {"value_size": 2**40, "value_sha256": "0" * 64},
        ],
        ids=["without what may be left out", "numbers", "metadata", "purged", "big"],
    )
    @driven
    async def test_every_field_of_an_entry_comes_back(self, storage: Storage, fields: dict[str, Any]) -> None:
        entry = replace(an_entry(), **fields)
        await committed(storage, a_write(StoreEntry(entry, b"cipher")))
        assert (await look(storage)).entry == entry
        assert (await look(storage, with_value=False)).entry == entry

    @pytest.mark.parametrize("at", INSTANTS, ids=str)
    @driven
    async def test_times_keep_their_microseconds(self, storage: Storage, at: datetime) -> None:
        entry = replace(an_entry(), created_at=at, updated_at=at, expires_at=at, purged_at=at)
        await committed(storage, a_write(StoreEntry(entry, b"cipher")))
        found = (await look(storage)).entry
        assert found is not None
        assert (found.created_at, found.updated_at, found.expires_at, found.purged_at) == (at, at, at, at)
        assert found.created_at.utcoffset() == timedelta(0)

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    @driven
    async def test_texts_of_an_access_row_come_back_as_they_were(self, storage: Storage, text: str) -> None:
        record = _full_access_record(text)
        await committed(storage, replace(storing(), access=(record,)))
        (row,) = await storage.access_log(LogQuery(limit=10))
        assert row.record == record

    @driven
    async def test_an_access_row_may_leave_out_what_is_not_known(self, storage: Storage) -> None:
        record = AccessRecord(
            at=T0, request_id="r", operation=Operation.AUTHENTICATE, outcome=Outcome.DENIED, status=401, count=90_000
        )
        await committed(storage, replace(a_write(), access=(record,)))
        (row,) = await storage.access_log(LogQuery(limit=10))
        assert row.record == record

    @pytest.mark.parametrize("operation", Operation)
    @driven
    async def test_an_access_row_takes_every_operation(self, storage: Storage, operation: Operation) -> None:
        record = an_access_record(operation=operation)
        await committed(storage, replace(a_write(), access=(record,)))
        (row,) = await storage.access_log(LogQuery(limit=10, equals={"operation": operation.value}))
        assert row.record == record

    @pytest.mark.parametrize("reason", PurgeReason)
    @driven
    async def test_a_purge_row_comes_back_as_it_was(self, storage: Storage, reason: PurgeReason) -> None:
        record = a_purge_record(
            an_entry(version=3, key_ref="k '\U0001f510", expires_at=INSTANTS[2]),
            reason=reason,
            policy_reference="card v3",
            identity="jané",
            purged_at=INSTANTS[1],
        )
        await committed(storage, a_write(purges=(record,)))
        (row,) = await storage.purge_log(LogQuery(limit=10))
        assert row.record == record

    @driven
    async def test_a_purge_row_may_leave_out_what_is_not_known(self, storage: Storage) -> None:
        record = a_purge_record(key_ref=None, policy_reference=None, identity=None)
        await committed(storage, a_write(purges=(record,)))
        (row,) = await storage.purge_log(LogQuery(limit=10))
        assert row.record == record


def _full_access_record(text: str) -> AccessRecord:
    return an_access_record(
        at=INSTANTS[1],
        stamp=EntryVersion("f" * 32, 12),
        external_id=text,
        app=text,
        identity=text,
        method=text,
        credential_id=text,
        client_address=text,
        untrusted_forwarding=True,
        outcome=Outcome.DENIED,
        status=403,
        reason=text,
        policy=text,
        policy_version=7,
        count=2,
        detail=text,
        old_value=text,
        new_value=text,
        role=text,
    )
