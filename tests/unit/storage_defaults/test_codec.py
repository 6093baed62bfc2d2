"""The codec returns the entries and rows that a storage of a third party keeps with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vsqlvault.errors import Unavailable
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, EntryVersion
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.storage_defaults.codec import decode, encode
from vsqlvault.testing import T0, a_purge_record, an_access_record, an_entry

STORED = an_entry("codec", b"value")


@pytest.mark.parametrize("entry", [STORED, replace(STORED, purged_at=T0, purge_method="crypto-shred", key_ref="k")])
def test_an_entry_comes_back(entry: Entry) -> None:
    assert decode(Entry, encode(entry)) == entry


@pytest.mark.parametrize("stamp", [None, STORED.stamp], ids=["no version", "a version"])
def test_a_row_of_the_access_log_comes_back(stamp: EntryVersion | None) -> None:
    record = replace(an_access_record(), stamp=stamp, detail='"\\ \x7f \U0001f512', app=None)
    assert decode(AccessRecord, encode(record)) == record


def test_a_row_of_the_purge_log_comes_back() -> None:
    record = a_purge_record()
    assert decode(PurgeRecord, encode(record)) == record


def test_a_version_of_another_length_is_refused() -> None:
    text = encode(replace(an_access_record(), stamp=STORED.stamp)).replace(b'"stamp":[', b'"stamp":[1,')
    with pytest.raises(Unavailable, match="a stored item cannot be decoded: AccessRecord"):
        decode(AccessRecord, text)
