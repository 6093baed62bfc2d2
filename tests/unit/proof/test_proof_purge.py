"""The purge proof: anyone who kept the entry recomputes it with nothing but JSON and SHA-256."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsqlvault.model.entry import Entry, ValueEncoding
from vsqlvault.proof.canonical import canonical_json
from vsqlvault.proof.purge_proof import proof_document, purge_proof
from vsqlvault.testing import T0, an_entry

VALUE = b"\x00cipher\xff"
ENTRY = Entry(
    purpose="card",
    external_id="pay-1",
    entry_id="0123456789abcdef0123456789abcdef",
    version=2,
    encoding=ValueEncoding.BASE64,
    value_sha256=hashlib.sha256(VALUE).hexdigest(),
    value_size=len(VALUE),
    algorithm_hint="AES-256-GCM",
    key_ref=None,
    metadata='{"amount":12.5,"merchant":"Käse & Söhne"}',
    owner_app="payments",
    owner_identity=None,
    access_policy="owner-only",
    created_at=datetime(2027, 1, 15, 12, tzinfo=UTC),
    updated_at=datetime(2027, 1, 16, 12, 0, 0, 500, tzinfo=UTC),
    expires_at=datetime(2027, 4, 15, 12, tzinfo=UTC),
)
NOT_PROVEN = {"retrievals", "purged_at", "purge_method", "value_sha256"}
OTHERS = {
    "purpose": "ach",
    "external_id": "pay-2",
    "entry_id": "f" * 32,
    "version": 3,
    "encoding": ValueEncoding.UTF_8,
    "value_size": 1,
    "algorithm_hint": None,
    "key_ref": "k1",
    "metadata": "{}",
    "owner_app": "shop",
    "owner_identity": "jane",
    "access_policy": "tellers",
    "created_at": T0,
    "updated_at": T0,
    "expires_at": T0 + timedelta(microseconds=1),
}


def test_the_proof_can_be_recomputed_by_hand() -> None:
    document = {
        "access_policy": "owner-only",
        "algorithm_hint": "AES-256-GCM",
        "created_at": "2027-01-15T12:00:00Z",
        "encoding": "base64",
        "entry_id": "0123456789abcdef0123456789abcdef",
        "expires_at": "2027-04-15T12:00:00Z",
        "external_id": "pay-1",
        "format": "vsqlvault-entry-v1",
        "key_ref": None,
        "metadata": {"amount": 12.5, "merchant": "Käse & Söhne"},
        "owner_app": "payments",
        "owner_identity": None,
        "purpose": "card",
        "updated_at": "2027-01-16T12:00:00.000500Z",
        "value_sha256": hashlib.sha256(VALUE).hexdigest(),
        "value_size": 8,
        "version": 2,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert purge_proof(ENTRY, VALUE) == hashlib.sha256(text.encode()).hexdigest()


def test_the_table_of_changes_names_every_field() -> None:
    assert set(OTHERS) | NOT_PROVEN == {field.name for field in fields(Entry)}


@pytest.mark.parametrize("name", OTHERS)
def test_a_change_in_a_field_changes_the_proof(name) -> None:
    assert purge_proof(replace(ENTRY, **{name: OTHERS[name]}), VALUE) != purge_proof(ENTRY, VALUE)


@pytest.mark.parametrize("value", [b"", VALUE[:-1], VALUE + b"\0", VALUE.swapcase()])
def test_a_change_in_the_value_changes_the_proof(value) -> None:
    assert purge_proof(ENTRY, value) != purge_proof(ENTRY, VALUE)


def test_the_value_is_hashed_and_not_believed() -> None:
    assert purge_proof(replace(ENTRY, value_sha256="0" * 64), VALUE) == purge_proof(ENTRY, VALUE)


def test_the_document_holds_no_byte_of_the_value() -> None:
    assert "cipher" not in json.dumps(proof_document(ENTRY, "0" * 64))


def test_what_moves_between_fields_does_not_keep_the_proof() -> None:
    one = an_entry(owner_app="ab", access_policy="c", entry_id="0" * 32)
    other = an_entry(owner_app="a", access_policy="bc", entry_id="0" * 32)
    assert purge_proof(one, VALUE) != purge_proof(other, VALUE)


@pytest.mark.parametrize(
    "number", [0.0, -0.5, 1e15, 2.0**53, 1e20, 1.1e20, -1e20, 1e21, 1.7976931348623157e308, 5e-324]
)
def test_every_number_that_metadata_can_hold_can_be_proven(number) -> None:
    metadata = canonical_json({"number": number}).decode()
    assert len(purge_proof(replace(ENTRY, metadata=metadata), VALUE)) == 64


@given(
    words=st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=7, max_size=7),
    numbers=st.tuples(st.integers(0, 2**53 - 1), st.integers(1, 2**53 - 1)),
    metadata=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers() | st.floats(-1e9, 1e9)),
)
def test_the_proof_is_over_the_canonical_form_of_the_document(words, numbers, metadata) -> None:
    names = ("algorithm_hint", "key_ref", "owner_identity", "external_id", "entry_id", "owner_app", "access_policy")
    texts = {name: word if name in names[:3] else word or "x" for name, word in zip(names, words, strict=True)}
    entry = replace(ENTRY, **texts, value_size=numbers[0], version=numbers[1], metadata=json.dumps(metadata))
    document = proof_document(entry, hashlib.sha256(VALUE).hexdigest())
    assert purge_proof(entry, VALUE) == hashlib.sha256(canonical_json(document)).hexdigest()
