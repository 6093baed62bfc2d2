"""Controls, attestations with the purges that they sample, and access reviews."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
from vsqlvault.model.database_access import DatabaseAccess, DatabaseRole
from vsqlvault.model.purge import PurgeRecord
from vsqlvault_plugins.storage.decoding import readable
from vsqlvault_plugins.storage.postgres import archiving, rows
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql_files import load_queries

QUERIES = load_queries("vsqlvault_plugins.storage.postgres", "watching.sql")
_NO_NUMBER = 2**63 - 1


async def control_states(connection: Connection) -> list[ControlChange]:
    """Return the newest change of every control, by name."""
    return [_change_of(row) for row in await connection.fetch(QUERIES["control_states"])]


async def control_changes(connection: Connection, since: datetime, until: datetime, limit: int) -> list[ControlChange]:
    """Return changes of a period, oldest first."""
    return [_change_of(row) for row in await connection.fetch(QUERIES["control_changes"], since, until, limit)]


async def attestations(connection: Connection, before: int | None, limit: int) -> list[Attestation]:
    """Return attestations, newest first."""
    found = await connection.fetch(QUERIES["attestations"], _NO_NUMBER if before is None else before, limit)
    return [_attestation_of(row) for row in found]


async def access_reviews(connection: Connection, before: int | None, limit: int) -> list[AccessReview]:
    """Return access reviews, newest first."""
    found = await connection.fetch(QUERIES["access_reviews"], _NO_NUMBER if before is None else before, limit)
    return [_review_of(row) for row in found]


async def newest_access_reviews(connection: Connection, as_of: datetime) -> list[AccessReview]:
    """Return the newest review of each purpose and of all."""
    return [_review_of(row) for row in await connection.fetch(QUERIES["newest_access_reviews"], as_of)]


async def database_access(connection: Connection) -> DatabaseAccess:
    """Return the roles that may read or write a table of the vault."""
    roles = [
        DatabaseRole(
            name=name, is_superuser=is_superuser, can_log_in=can_log_in, is_own=is_own, may_read=reads, may_write=writes,
            through=tuple(through),
        )
        for name, is_superuser, can_log_in, is_own, reads, writes, through in await connection.fetch(QUERIES["database_roles"])
    ]  # fmt: skip
    return DatabaseAccess(roles=roles, roles_examined=await connection.fetchval(QUERIES["count_roles"]))


async def purges_by_id(connection: Connection, query: PurgesByIdQuery) -> list[PurgeRecord]:
    """Return rows of the purge log in the order of their ids."""
    found = await connection.fetch(QUERIES["purges_by_id"], query.first_id, query.since, query.until, query.limit)
    return [rows.purge_row_of(row).record for row in found]


async def _newest_control_change_is(connection: Connection, expected: NewestControlChangeIs) -> bool:
    return bool(await connection.fetchval(QUERIES["newest_control_change"], expected.name) == expected.number)


async def _newest_attestation_is(connection: Connection, expected: NewestAttestationIs) -> bool:
    return bool(await connection.fetchval(QUERIES["newest_attestation"]) == expected.number)


async def _newest_access_review_is(connection: Connection, expected: NewestAccessReviewIs) -> bool:
    return bool(await connection.fetchval(QUERIES["newest_access_review"]) == expected.number)


async def _save_control_change(connection: Connection, wanted: SaveControlChange) -> None:
    change = wanted.change
    await connection.execute(
        QUERIES["put_control_change"], change.name, change.number, change.state.value, change.at, change.detail
    )


async def _save_attestation(connection: Connection, wanted: SaveAttestation) -> None:
    made = wanted.attestation
    await connection.execute(QUERIES["put_attestation"], made.number, made.at, made.is_clean, made.document, made.note)


async def _save_access_review(connection: Connection, wanted: SaveAccessReview) -> None:
    made = wanted.review
    await connection.execute(
        QUERIES["put_access_review"], made.number, made.at, made.purpose, made.due_at, made.document, made.note
    )


EXPECTATIONS: dict[type, Callable[[Connection, Any], Awaitable[bool]]] = {
    NewestControlChangeIs: _newest_control_change_is,
    NewestAttestationIs: _newest_attestation_is,
    NewestAccessReviewIs: _newest_access_review_is,
    NewestArchiveIs: archiving.newest_archive_is,
}
"""Read while the rules are locked, so that no other process commits meanwhile."""

CHANGES: dict[type, Callable[[Connection, Any], Awaitable[None]]] = {
    SaveControlChange: _save_control_change,
    SaveAttestation: _save_attestation,
    SaveAccessReview: _save_access_review,
    SaveArchive: archiving.save_archive,
}


@readable
def _change_of(row: Any) -> ControlChange:
    return ControlChange(row[0], row[1], ControlState(row[2]), row[3], row[4])


@readable
def _attestation_of(row: Any) -> Attestation:
    return Attestation(*row)


@readable
def _review_of(row: Any) -> AccessReview:
    return AccessReview(*row)
