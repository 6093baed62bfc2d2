"""What the row of a store says about its entry, and what the replay makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.exports import access_leaf
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import Entry, EntryVersion, ValueEncoding
from vsqlvault.proof.canonical import canonical_json
from vsqlvault.proof.entry_records import EntryRecords, RecordedEntry, entry_differences
from vsqlvault.proof.entry_statement import state_entry, statement_in
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.proof.purge_proof import kept_proof
from vsqlvault.proof.state_replay import StateReplay
from vsqlvault.testing import T0, an_access_record, an_entry

ENTRY = an_entry(
    "stated-1",
    b"cipher",
    entry_id="0123456789abcdef0123456789abcdef",
    metadata='{"rate":0.5}',
    algorithm_hint="AES-256-GCM",
    expires_at=T0 + timedelta(days=9, microseconds=1),
)
CHANGES: dict[str, Any] = {
    "value_sha256": "0" * 64,
    "value_size": 7,
    "encoding": ValueEncoding.BASE64,
    "algorithm_hint": None,
    "key_ref": "other",
    "metadata": "{}",
    "owner_identity": "jane",
    "created_at": T0 - timedelta(days=1),
    "updated_at": T0 + timedelta(days=1),
}


def store_leaf(entry: Entry, detail: str | None, operation: str = "store", **members: Any) -> bytes:
    fields = {"detail": detail, "operation": operation, "purpose": entry.purpose, "external_id": entry.external_id}
    stamp = {"entry_id": entry.entry_id, "entry_version": entry.version, "app": entry.owner_app}
    return access_leaf(**{name: value for name, value in {**fields, **stamp, **members}.items() if value is not None})


def replayed(*leaves: bytes) -> StateReplay:
    replay = StateReplay()
    for index, leaf in enumerate(leaves):
        replay.take(index, leaf)
    return replay


def said_of(replay: StateReplay, entry: Entry = ENTRY) -> RecordedEntry:
    found = replay.state.entries.get(entry.purpose, entry.external_id)
    assert found is not None
    return found


def test_a_statement_has_the_hash_that_a_purge_proves() -> None:
    stated = statement_in(f"retention card v1, {state_entry(ENTRY)}")
    assert stated == (ENTRY.access_policy, ENTRY.expires_at, kept_proof(ENTRY))


@pytest.mark.parametrize("metadata", [{}, {"é": ["\u2028", '"\\/']}, {"\uff5e": 1, "\U0001f510": 2}, {"a": 1e-7}])
def test_the_metadata_of_a_store_needs_no_second_canonical_form(metadata: dict[str, Any]) -> None:
    entry = replace(ENTRY, metadata=canonical_json(metadata).decode())
    stated = statement_in(state_entry(entry))
    assert stated is not None
    assert stated.digest == kept_proof(entry)


@pytest.mark.parametrize("detail", [None, "retention card v1", f"{state_entry(ENTRY)} ", f"entry sha256:{'0' * 64}"])
def test_another_detail_says_nothing(detail: str | None) -> None:
    assert statement_in(detail) is None


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_member_differs_from_the_statement(name: str) -> None:
    said = said_of(replayed(store_leaf(ENTRY, f"retention card v1, {state_entry(ENTRY)}")))
    assert entry_differences(ENTRY, said) == []
    (what,) = entry_differences(replace(ENTRY, **{name: CHANGES[name]}), said)
    assert name in what


@pytest.mark.parametrize(
    ("name", "value"), [("expires_at", T0), ("access_policy", "other"), ("owner_app", "thief"), ("version", 2)]
)
def test_a_changed_member_of_its_own_is_named_alone(name: str, value: object) -> None:
    said = said_of(replayed(store_leaf(ENTRY, f"retention card v1, {state_entry(ENTRY)}")))
    (what,) = entry_differences(replace(ENTRY, **{name: value}), said)
    assert what.startswith(f"{name} is ")


def test_the_row_of_an_earlier_version_is_checked_for_what_it_says() -> None:
    said = said_of(replayed(store_leaf(ENTRY, "retention card v1")))
    assert entry_differences(replace(ENTRY, **CHANGES), said) == []
    assert entry_differences(replace(ENTRY, owner_app="thief"), said) != []


def test_a_later_version_without_a_statement_takes_the_earlier_one_back() -> None:
    second = replace(ENTRY, version=2)
    said = said_of(replayed(store_leaf(ENTRY, state_entry(ENTRY)), store_leaf(second, "retention card v1")))
    assert entry_differences(replace(second, key_ref="other"), said) == []


def moved(seconds: float) -> Entry:
    return replace(ENTRY, expires_at=ENTRY.expires_at + timedelta(seconds=seconds))


def moving_leaf(entry: Entry) -> bytes:
    return store_leaf(entry, state_entry(entry), "retrieve", app="another")


def test_a_retrieval_that_moves_the_expiry_states_the_entry_again() -> None:
    said = said_of(replayed(store_leaf(ENTRY, state_entry(ENTRY)), moving_leaf(moved(60))))
    assert (said.index, said.owner) == (1, ENTRY.owner_app)
    assert entry_differences(moved(60), said) == []
    assert entry_differences(ENTRY, said) != []


def test_a_retrieval_with_a_trace_context_states_the_entry_too() -> None:
    entry = moved(60)
    traced = f"traceparent 00-{'4b' * 16}-{'00f0' * 4}-01, {state_entry(entry)}"
    leaves = (store_leaf(ENTRY, state_entry(ENTRY)), store_leaf(entry, traced, "retrieve", app="another"))
    assert entry_differences(entry, said_of(replayed(*leaves))) == []


@pytest.mark.parametrize("seconds", [(1, 2), (2, 1)])
def test_two_retrievals_at_the_same_time_may_be_committed_in_either_order(seconds: tuple[float, float]) -> None:
    first, second = map(moved, seconds)
    replay = replayed(store_leaf(ENTRY, state_entry(ENTRY)), moving_leaf(first), moving_leaf(second))
    other = replay.state.moved[ENTRY.key]
    assert entry_differences(second, said_of(replay)) == []
    assert entry_differences(first, other) == []


def test_two_retrievals_at_other_times_leave_one_state() -> None:
    replay = replayed(store_leaf(ENTRY, state_entry(ENTRY)), moving_leaf(moved(20)), moving_leaf(moved(60)))
    assert replay.state.moved == {}


def test_a_retrieval_of_another_version_states_nothing() -> None:
    replay = replayed(store_leaf(ENTRY, state_entry(ENTRY)), moving_leaf(replace(moved(60), version=2)))
    assert said_of(replay).index == 0


def test_a_purged_entry_has_no_state() -> None:
    row = {"method": "physical-delete", "purpose": ENTRY.purpose, "external_id": ENTRY.external_id}
    row |= {"entry_id": ENTRY.entry_id, "owner_app": ENTRY.owner_app}
    leaf = ('{"purge":' + canonical_json({**row, "entry_version": 1}).decode() + "}").encode()
    replay = replayed(store_leaf(ENTRY, state_entry(ENTRY)), leaf)
    assert len(replay.state.entries) == 0
    assert replay.state.overwritten.get(*ENTRY.key) is not None


@pytest.mark.parametrize("changes", [{"entry_id": "x" * 32}, {"entry_id": "ab"}, {"version": 2**64}, {"version": -1}])
def test_a_record_of_another_form_is_a_value_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"hex|version"):
        EntryRecords().put("card", "e", replace(RecordedEntry(0, "0" * 32, 1, None), **changes))


def test_a_copy_of_the_records_changes_alone() -> None:
    records = EntryRecords()
    said = RecordedEntry(7, "0" * 32, 1, "payments", "owner-only", ENTRY.expires_at, "1" * 64)
    records.put("card", "e", said)
    copy = records.copy()
    assert copy.pop("card", "e") == said
    assert copy.pop("card", "e") is None
    assert list(records) == [("card", "e", said)]
    assert (len(copy), len(records), records.next_after("card", ""), records.next_after("card", "e")) == (
        0,
        1,
        "e",
        None,
    )


@pytest.mark.parametrize("time", ["2027-13-16T00:00:00Z", "2027-02-30T00:00:00Z", "2-27-02-16T00:00:00Z"])
def test_a_statement_with_an_impossible_time_is_none(time: str) -> None:
    detail = f"access policy owner-only, expires {time}, entry sha256:{'0' * 64}"
    with pytest.raises(ValueError, match="expected"):
        statement_in(detail)
    replay = StateReplay()
    stamp = EntryVersion(ENTRY.entry_id, 1)
    row = an_access_record(operation=Operation.STORE, stamp=stamp, external_id=ENTRY.external_id, detail=detail)
    replay.take(0, row_leaf(row))
    assert len(replay.state.entries) == 0
