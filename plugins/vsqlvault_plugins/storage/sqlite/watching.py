"""Changes of controls, attestations and access reviews."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from vsqlvault.interfaces.archive_storage import NewestArchiveIs, SaveArchive
from vsqlvault.interfaces.watch_storage import (
    NewestAccessReviewIs,
    NewestAttestationIs,
    NewestControlChangeIs,
    SaveAccessReview,
    SaveAttestation,
    SaveControlChange,
)
from vsqlvault.model.times import to_micros
from vsqlvault_plugins.storage.sql_files import load_queries
from vsqlvault_plugins.storage.sqlite import archiving

QUERIES = load_queries("vsqlvault_plugins.storage.sqlite", "watching.sql")


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
