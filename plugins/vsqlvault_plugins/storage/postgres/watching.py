"""Changes of controls, attestations and access reviews."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
from vsqlvault.model.database_access import DatabaseAccess, DatabaseRole
from vsqlvault_plugins.storage.postgres import archiving
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql_files import load_queries

QUERIES = load_queries("vsqlvault_plugins.storage.postgres", "watching.sql")


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
