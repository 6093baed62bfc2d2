"""The settings of each session: set after connecting, because a pooler takes none before, and seen to be in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vsqlvault.errors import UnsafeStorage
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection

SETTINGS: Mapping[str, str] = {
    "application_name": "vsqlvault",
    "timezone": "UTC",
    "lock_timeout": "2000",
    "statement_timeout": "30000",
    "idle_in_transaction_session_timeout": "10000",
    "jit": "off",
    # Every statement here looks rows up by an index. What the planner thinks of an empty table must not stay its opinion
    # of a full one, so it plans once, and for a full one.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
ON_CITUS: Mapping[str, str] = {
    # Citus cannot plan a statement without its parameters, and cannot delegate one with them.
    "plan_cache_mode": "force_custom_plan",
    # The driver reads the catalogue of types, which takes seconds while Citus hides its shards in it.
    "citus.override_table_visibility": "off",
}
"""In place of the above, or beside them, in a database with the extension ``citus``."""
KEPT_BY_THE_POOLER = frozenset({"application_name", "timezone"})
"""PgBouncer tracks these for each client, whatever its mode."""


async def set_up(connection: Connection, own: Mapping[str, str], *, is_pooled: bool) -> None:
    """Set what the vault needs and what the URL asks for (``own``, which goes first).

    Raises:
        UnsafeStorage: behind a pooler, the session does not keep them.
    """
    wanted = {**SETTINGS, **own}
    found = await connection.fetch(QUERIES["set_settings"], list(wanted), list(wanted.values()), False)
    if is_pooled and (lost := await _not_in_force(connection, {row["name"]: row["value"] for row in found})):
        raise _not_kept(lost)


async def check_kept(connection: Connection, other: Connection, own: Mapping[str, str]) -> None:
    """See that two sessions of a pooler are two, each with its settings, also while the first is in a transaction.

    Raises:
        UnsafeStorage: the pooler shares servers between sessions.
    """
    wanted = {**SETTINGS, **own}
    found = await connection.fetch(QUERIES["settings_in_force"], list(wanted))
    async with connection.transaction():
        await connection.execute("SELECT 1")
        if lost := await _not_in_force(other, {row["name"]: row["value"] for row in found}):
            raise _not_kept(lost)


def _not_kept(lost: Sequence[str]) -> UnsafeStorage:
    return UnsafeStorage(
        f"the pooler does not keep the settings of a session ({', '.join(lost)}): set its pool_mode to session, or"
        ' plugins.postgresql.pooler_mode to "transaction"'
    )


async def check(connection: Connection, own: Mapping[str, str]) -> None:
    """See that each transaction runs with what the vault needs, where no session lasts that could be set up.

    Raises:
        UnsafeStorage: with the statement that gives the role its settings.
    """
    wanted = {**SETTINGS, **own}
    found = await connection.fetch(QUERIES["set_settings"], list(wanted), list(wanted.values()), True)
    expected = {row["name"]: row["value"] for row in found if row["name"] not in KEPT_BY_THE_POOLER}
    if missing := await _not_in_force(connection, expected):
        role = await connection.fetchval("SELECT quote_ident(current_user)")
        commands = "; ".join(f"ALTER ROLE {role} SET {name} = '{wanted[name]}'" for name in missing)
        raise UnsafeStorage(f"behind a pooler in transaction mode the role must bring its settings: {commands}")


async def _not_in_force(connection: Connection, expected: Mapping[str, str]) -> list[str]:
    """Return the names of those settings that have another value now."""
    found = await connection.fetch(QUERIES["settings_in_force"], list(expected))
    return [row["name"] for row in found if row["value"] != expected[row["name"]]]
