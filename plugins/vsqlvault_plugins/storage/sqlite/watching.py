"""Controls, attestations with the purges that they sample, and access reviews."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any

from vsqlvault.interfaces.archive_storage import NewestArchiveIs, SaveArchive
from vsqlvault.interfaces.watch_storage import (
    NewestAccessReviewIs,
    NewestAttestationIs,
    NewestControlChangeIs,
    PurgesByIdQuery,
    SaveAccessReview,
    SaveAttestation,
    SaveControlChange,
)
from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.control import ControlChange, ControlState
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import from_micros, to_micros
from vsqlvault_plugins.storage.decoding import without_bytes
from vsqlvault_plugins.storage.sql_files import load_queries
from vsqlvault_plugins.storage.sqlite import archiving, rows

QUERIES = load_queries("vsqlvault_plugins.storage.sqlite", "watching.sql")
_NO_NUMBER = 2**63 - 1


def control_states(connection: sqlite3.Connection) -> list[ControlChange]:
    """Return the newest change of every control, by name."""
    return [_change_of(row) for row in connection.execute(QUERIES["control_states"])]


def control_changes(
    connection: sqlite3.Connection, since: datetime, until: datetime, limit: int
) -> list[ControlChange]:
    """Return changes of a period, oldest first."""
    parameters = {"since": to_micros(since), "until": to_micros(until), "limit": limit}
    return [_change_of(row) for row in connection.execute(QUERIES["control_changes"], parameters)]


def attestations(connection: sqlite3.Connection, before: int | None, limit: int) -> list[Attestation]:
    """Return attestations, newest first."""
    parameters = {"before": _NO_NUMBER if before is None else before, "limit": limit}
    return [_attestation_of(row) for row in connection.execute(QUERIES["attestations"], parameters)]


def access_reviews(connection: sqlite3.Connection, before: int | None, limit: int) -> list[AccessReview]:
    """Return access reviews, newest first."""
    parameters = {"before": _NO_NUMBER if before is None else before, "limit": limit}
    return [_review_of(row) for row in connection.execute(QUERIES["access_reviews"], parameters)]


def newest_access_reviews(connection: sqlite3.Connection, as_of: datetime) -> list[AccessReview]:
    """Return the newest review of each purpose and of all."""
    found = connection.execute(QUERIES["newest_access_reviews"], {"as_of": to_micros(as_of)})
    return [_review_of(row) for row in found]


def purges_by_id(connection: sqlite3.Connection, query: PurgesByIdQuery) -> list[PurgeRecord]:
    """Return rows of the purge log in the order of their ids."""
    parameters = {
        "first_id": query.first_id,
        "since": to_micros(query.since),
        "until": to_micros(query.until),
        "limit": query.limit,
    }
    return [rows.purge_row_of(row).record for row in connection.execute(QUERIES["purges_by_id"], parameters)]


def _newest_control_change_is(connection: sqlite3.Connection, expected: NewestControlChangeIs) -> bool:
    (number,) = connection.execute(QUERIES["newest_control_change"], (expected.name,)).fetchone()
    return bool(number == expected.number)


def _newest_attestation_is(connection: sqlite3.Connection, expected: NewestAttestationIs) -> bool:
    (number,) = connection.execute(QUERIES["newest_attestation"]).fetchone()
    return bool(number == expected.number)


def _newest_access_review_is(connection: sqlite3.Connection, expected: NewestAccessReviewIs) -> bool:
    (number,) = connection.execute(QUERIES["newest_access_review"]).fetchone()
    return bool(number == expected.number)


def _save_control_change(connection: sqlite3.Connection, wanted: SaveControlChange) -> None:
    change = wanted.change
    row = (change.name, change.number, change.state.value, to_micros(change.at), change.detail)
    connection.execute(QUERIES["put_control_change"], row)


def _save_attestation(connection: sqlite3.Connection, wanted: SaveAttestation) -> None:
    made = wanted.attestation
    row = (made.number, to_micros(made.at), int(made.is_clean), made.document, made.note)
    connection.execute(QUERIES["put_attestation"], row)


def _save_access_review(connection: sqlite3.Connection, wanted: SaveAccessReview) -> None:
    made = wanted.review
    row = (made.number, to_micros(made.at), made.purpose, to_micros(made.due_at), made.document, made.note)
    connection.execute(QUERIES["put_access_review"], row)


EXPECTATIONS: dict[type, Callable[[sqlite3.Connection, Any], bool]] = {
    NewestControlChangeIs: _newest_control_change_is,
    NewestAttestationIs: _newest_attestation_is,
    NewestAccessReviewIs: _newest_access_review_is,
    NewestArchiveIs: archiving.newest_archive_is,
}
CHANGES: dict[type, Callable[[sqlite3.Connection, Any], None]] = {
    SaveControlChange: _save_control_change,
    SaveAttestation: _save_attestation,
    SaveAccessReview: _save_access_review,
    SaveArchive: archiving.save_archive,
}


@without_bytes
def _change_of(row: Any) -> ControlChange:
    if not isinstance(row[1], int):
        raise TypeError("expected a number")
    return ControlChange(row[0], row[1], ControlState(row[2]), from_micros(row[3]), row[4])


@without_bytes
def _attestation_of(row: Any) -> Attestation:
    return Attestation(row[0], from_micros(row[1]), bool(row[2]), row[3], row[4])


@without_bytes
def _review_of(row: Any) -> AccessReview:
    return AccessReview(row[0], from_micros(row[1]), row[2], from_micros(row[3]), row[4], row[5])
