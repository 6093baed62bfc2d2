"""Expresses every write by the basic changes and expectations: rules, records of runs, controls and attestations are items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, cast, get_type_hints

from vsqlvault.errors import Unavailable
from vsqlvault.interfaces.archive_storage import NewestArchiveIs, SaveArchive
from vsqlvault.interfaces.watch_storage import (
    NewestAccessReviewIs,
    NewestAttestationIs,
    NewestControlChangeIs,
    SaveAccessReview,
    SaveAttestation,
    SaveControlChange,
)
from vsqlvault.interfaces.writes import (
    Change,
    DropAccessPolicy,
    Expectation,
    SaveAccessPolicy,
    SaveApiKey,
    SaveLegalHold,
    SaveRetentionPolicy,
    SaveScrub,
    SaveSweep,
    StoreEntry,
    Write,
)
from vsqlvault.model.policy import AccessPolicy
from vsqlvault.proof.leaf import row_hash
from vsqlvault.storage_defaults.basic import (
    BasicChange,
    BasicExpectation,
    BasicWrite,
    ItemIs,
    ItemKey,
    NewRow,
    PutItem,
    number_name,
    time_name,
)
from vsqlvault.storage_defaults.codec import encode

ACCESS_POLICY, RETENTION_POLICY, API_KEY, LEGAL_HOLD = "access-policy", "retention-policy", "api-key", "legal-hold"
RULES = (ACCESS_POLICY, RETENTION_POLICY, API_KEY, LEGAL_HOLD)
"""Tables with the newest version of each rule by its name. The table of all versions has the same name and ``-version``."""
SWEEP, SCRUB = "sweep", "scrub"
CONTROL, CONTROL_CHANGE, CONTROL_NUMBER = "control", "control-change", "control-number"
ATTESTATION = "attestation"
ATTESTATION_NUMBER = ItemKey("attestation-number", b"")
ACCESS_REVIEW = "access-review"
ACCESS_REVIEW_NUMBER = ItemKey("access-review-number", b"")
ARCHIVE = "log-archive"
ARCHIVE_NUMBER = ItemKey("log-archive-number", b"")


def basic_write(write: Write) -> BasicWrite:
    """Return the write in its basic form. Its expectations are in the same order, one for one.

    Raises:
        Unavailable: a value that must be there is None.
    """
    for part in (*write.access, *write.purges, *(c.entry for c in write.changes if isinstance(c, StoreEntry))):
        _require_values(part)
    access = write.access_leaves or tuple(map(row_hash, write.access))
    purges = write.purge_leaves or tuple(map(row_hash, write.purges))
    return BasicWrite(
        tuple(map(_basic_expectation, write.expects)),
        tuple(basic for change in write.changes for basic in _basic_changes(change)),
        tuple(map(NewRow, write.access, access)),
        tuple(map(NewRow, write.purges, purges)),
    )


def version_name(name: str, version: int) -> bytes:
    """Return the name of an item for one version of a rule. Those of one rule follow each other."""
    return name.encode() + b"\0" + number_name(version)


@cache
def _required(kind: type) -> tuple[str, ...]:
    hints = get_type_hints(kind)
    return tuple(
        one.name for one in fields(kind) if one.default is MISSING and type(None) not in _parts(hints[one.name])
    )


def _parts(hint: Any) -> tuple[Any, ...]:
    return getattr(hint, "__args__", None) or (hint,)


def _require_values(part: Any) -> None:
    for name in _required(cast("Any", type(part))):
        if getattr(part, name) is None:
            raise Unavailable(f"{name}: expected a value, found None")


def _basic_expectation(expected: Expectation) -> BasicExpectation:
    match expected:
        case NewestControlChangeIs(name, number):
            return ItemIs(ItemKey(CONTROL_NUMBER, name.encode()), _counted(number))
        case NewestAttestationIs(number):
            return ItemIs(ATTESTATION_NUMBER, _counted(number))
        case NewestAccessReviewIs(number):
            return ItemIs(ACCESS_REVIEW_NUMBER, _counted(number))
        case NewestArchiveIs(number):
            return ItemIs(ARCHIVE_NUMBER, _counted(number))
        case _:
            return expected


def _counted(number: int) -> bytes | None:
    return number_name(number) if number else None


def _basic_changes(change: Change) -> Iterator[BasicChange]:
    match change:
        case SaveAccessPolicy(policy):
            yield from _rule(ACCESS_POLICY, policy.name, policy)
        case DropAccessPolicy(name, version, by, at):
            gone = AccessPolicy(name, version, "", {}, created_by=by, created_at=at, dropped=True)
            yield from _rule(ACCESS_POLICY, name, gone)
        case SaveRetentionPolicy(retention):
            yield from _rule(RETENTION_POLICY, retention.purpose, retention)
        case SaveApiKey(key):
            yield from _rule(API_KEY, key.key_id, key)
        case SaveLegalHold(hold):
            yield from _rule(LEGAL_HOLD, hold.name, hold)
        case SaveSweep() | SaveScrub() | SaveControlChange() | SaveAttestation() | SaveAccessReview() | SaveArchive():
            yield from _record(change)
        case StoreEntry(_, value) if not isinstance(value, bytes):
            raise Unavailable("value: expected bytes")
        case _:
            yield change


def _rule(table: str, name: str, version: Any) -> Iterator[PutItem]:
    yield PutItem(ItemKey(table, name.encode()), encode(version), revises=True)
    yield PutItem(ItemKey(f"{table}-version", version_name(name, version.version)), encode(version))


def _record(
    change: SaveSweep | SaveScrub | SaveControlChange | SaveAttestation | SaveAccessReview | SaveArchive,
) -> Iterator[PutItem]:
    match change:
        case SaveSweep(sweep):
            yield PutItem(ItemKey(SWEEP, time_name(sweep.finished_at) + sweep.sweep_id.encode()), encode(sweep))
        case SaveScrub(scrub):
            place = time_name(scrub.finished_at) + number_name(scrub.through) + scrub.scrub_id.encode()
            yield PutItem(ItemKey(SCRUB, place), encode(scrub))
        case SaveControlChange(changed):
            name, number = changed.name.encode(), number_name(changed.number)
            yield PutItem(ItemKey(CONTROL_NUMBER, name), number)
            yield PutItem(ItemKey(CONTROL, name), encode(changed))
            yield PutItem(ItemKey(CONTROL_CHANGE, time_name(changed.at) + name + b"\0" + number), encode(changed))
        case SaveAttestation(attestation):
            yield PutItem(ATTESTATION_NUMBER, number_name(attestation.number))
            yield PutItem(ItemKey(ATTESTATION, number_name(attestation.number)), encode(attestation))
        case SaveAccessReview(review):
            yield PutItem(ACCESS_REVIEW_NUMBER, number_name(review.number))
            yield PutItem(ItemKey(ACCESS_REVIEW, number_name(review.number)), encode(review))
        case SaveArchive(archive):
            yield PutItem(ARCHIVE_NUMBER, number_name(archive.number))
            yield PutItem(ItemKey(ARCHIVE, number_name(archive.number)), encode(archive))
