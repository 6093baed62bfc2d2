"""Leaves: canonical, complete, and bounded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from vsqlvault.http.schemas.responses import access_row, purge_row
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import EntryVersion
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.model.times import from_micros
from vsqlvault.proof.leaf import row_hash, row_leaf
from vsqlvault.proof.tiles import MAX_ENTRY_BYTES
from vsqlvault.testing import a_purge_record, an_access_record

FULL = an_access_record(
    request_id="0" * 32,
    stamp=EntryVersion("b" * 32, 3),
    identity="jane",
    reason="expired",
    policy="owner-only",
    policy_version=2,
    detail="sweep",
    old_value="{}",
    new_value='{"a":1}',
    role="admin",
    untrusted_forwarding=True,
)
PURGE = a_purge_record(
    purge_id="1" * 32,
    entry_id="2" * 32,
    proof_hash="3" * 64,
    request_id="4" * 32,
    policy_reference="card v1",
    identity="joe",
)


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


@pytest.mark.parametrize("record", [FULL, an_access_record(), an_access_record(app=None, purpose=None)])
def test_an_access_leaf_is_the_canonical_form_of_the_row_as_it_is_shown(record: AccessRecord) -> None:
    assert row_leaf(record) == rfc8785.dumps({"access": without_nulls(access_row(record))})


@pytest.mark.parametrize("record", [PURGE, a_purge_record(key_ref=None)])
def test_a_purge_leaf_is_the_canonical_form_of_the_row_as_it_is_shown(record: PurgeRecord) -> None:
    assert row_leaf(record) == rfc8785.dumps({"purge": without_nulls(purge_row(record))})


texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    texts,
    st.none() | texts,
    st.integers(0, 2**47).map(from_micros),
    st.integers(1, 2**53 - 1),
    st.sampled_from(Operation),
    st.booleans(),
)
def test_whatever_a_row_holds_its_leaf_is_canonical(
    text: str, other: str | None, at: datetime, count: int, operation: Operation, flag: bool
) -> None:
    record = an_access_record(
        at=at, detail=text, identity=other, count=count, operation=operation,
        untrusted_forwarding=flag,
    )  # fmt: skip
    assert row_leaf(record) == rfc8785.dumps({"access": without_nulls(access_row(record))})


def another(value: Any) -> Any:
    """Return a value of the same kind that differs as little as can be."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case datetime():
            return value + timedelta(microseconds=1)
        case EntryVersion():
            return EntryVersion(value.entry_id, value.version + 1)
        case Enum():
            return next(one for one in type(value) if one is not value)
        case _:
            return value + " "


@pytest.mark.parametrize("field", [field.name for field in fields(AccessRecord)])
def test_every_field_of_an_access_row_is_in_its_leaf(field: str) -> None:
    value = getattr(FULL, field)
    assert value is not None
    assert row_hash(replace(FULL, **{field: another(value)})) != row_hash(FULL)


@pytest.mark.parametrize("field", [field.name for field in fields(PurgeRecord)])
def test_every_field_of_a_purge_row_is_in_its_leaf(field: str) -> None:
    value = getattr(PURGE, field)
    assert value is not None
    assert row_hash(replace(PURGE, **{field: another(value)})) != row_hash(PURGE)


def test_the_entry_of_a_stamp_is_in_the_leaf() -> None:
    assert row_hash(replace(FULL, stamp=EntryVersion("c" * 32, 3))) != row_hash(FULL)


def test_a_missing_text_is_not_an_empty_one() -> None:
    assert row_hash(an_access_record(detail="", request_id="r")) != row_hash(
        an_access_record(detail=None, request_id="r")
    )


def test_an_access_row_and_a_purge_row_never_share_a_leaf() -> None:
    assert row_leaf(FULL).startswith(b'{"access":{')
    assert row_leaf(PURGE).startswith(b'{"purge":{')


def test_a_hash_is_that_of_a_leaf_in_rfc_9162() -> None:
    assert row_hash(FULL) == hashlib.sha256(b"\x00" + row_leaf(FULL)).digest()


def test_texts_that_would_make_a_leaf_too_long_stand_by_their_hashes() -> None:
    long = "ä" * 40_000
    record = replace(FULL, old_value=long, new_value="ü" * 128, detail="x" * 257)
    row = json.loads(row_leaf(record))["access"]
    assert row["old_value"] == {"sha256": hashlib.sha256(long.encode()).hexdigest(), "size": 80_000}
    assert row["new_value"] == "ü" * 128
    assert row["detail"] == {"sha256": hashlib.sha256(b"x" * 257).hexdigest(), "size": 257}


def test_the_longest_row_fits_into_a_bundle() -> None:
    worst = {
        field.name: "\x01" * 100_000 for field in fields(AccessRecord) if isinstance(getattr(FULL, field.name), str)
    }
    worst |= {"operation": Operation.STORE, "outcome": Outcome.DENIED}
    assert len(row_leaf(replace(FULL, **worst))) <= MAX_ENTRY_BYTES
    at_the_limit = {name: "\x01" * 256 if len(value) == 100_000 else value for name, value in worst.items()}
    at_the_limit["detail"] = "\x01" * 100_000
    assert len(row_leaf(replace(FULL, **at_the_limit))) <= MAX_ENTRY_BYTES
    purge = {
        field.name: "\x01" * 100_000 for field in fields(PurgeRecord) if isinstance(getattr(PURGE, field.name), str)
    }
    assert len(row_leaf(replace(PURGE, **purge | {"reason": PurgeReason.EXPIRED}))) <= MAX_ENTRY_BYTES


def test_a_text_that_utf_8_cannot_hold_has_no_leaf() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        row_leaf(an_access_record(detail="\ud800"))


PLAIN = replace(FULL, old_value=None)
TEXTS = st.none() | st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["%s", "%", '"', ',"at":"'])


NAMES = (
    "app", "identity", "method", "credential_id", "client_address", "reason", "policy", "detail", "purpose", "external_id",
    "role", "new_value",
)  # fmt: skip
STAMPS = st.builds(EntryVersion, st.text(st.characters(codec="utf-8"), max_size=4), st.integers(1, 2**63 - 1))
TIMES = st.integers(0, 2**50).map(from_micros)


@given(
    st.fixed_dictionaries(dict.fromkeys(NAMES, TEXTS)), st.none() | STAMPS, st.lists(TIMES, max_size=2), st.booleans()
)
def test_the_hash_of_rows_from_one_template_is_that_of_their_leaves(texts, stamp, times, untrusted) -> None:
    row = replace(PLAIN, **texts, stamp=stamp, untrusted_forwarding=untrusted)
    for number, at in enumerate(times):
        shown = replace(row, at=at, request_id=f"{number}%", external_id=f'e"{number}%s')
        for each in (shown, replace(shown, external_id=None), replace(shown, stamp=None)):
            assert row_hash(each) == hashlib.sha256(b"\x00" + row_leaf(each)).digest()


def test_a_row_that_is_too_long_for_its_template_has_the_hash_of_its_shortened_leaf() -> None:
    long = replace(PLAIN, external_id="x" * MAX_ENTRY_BYTES)
    assert row_hash(long) == hashlib.sha256(b"\x00" + row_leaf(long)).digest()


def test_more_templates_than_are_kept_change_no_hash() -> None:
    rows = [replace(PLAIN, client_address=f"10.0.{number // 256}.{number % 256}") for number in range(1_100)]
    assert [row_hash(row) for row in rows] == [hashlib.sha256(b"\x00" + row_leaf(row)).digest() for row in rows]
