"""Offers ``postgresql:`` URLs, and the settings that only PostgreSQL has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from vsqlvault.config import PluginSettings, PublicSection, Section, Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.backup import BackupContents
from vsqlvault.interfaces.storage import Storage, StorageFactory
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_plugins.storage.postgres.needs import needs_of
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.postgres.sharding import MOST

Role = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]


class PostgresSettings(Section):
    """``[plugins.postgresql]``: roles that ``migrate`` sets up, and what a connection pooler keeps.

    ``prepared_statements`` defaults to true in session mode and to false in transaction mode.
    """

    owner_role: Role | None = None
    runtime_role: Role | None = None
    pooler_mode: Literal["session", "transaction"] = "session"
    prepared_statements: bool | None = None

    @property
    def keeps_prepared_statements(self) -> bool:
        """Whether statements are prepared once per connection."""
        return self.pooler_mode == "session" if self.prepared_statements is None else self.prepared_statements


class PoolSettings(PublicSection):
    """``[storage]`` ``pool_size``: connections to the server, per process. ``shards``: fixed when a database is created."""

    pool_size: int = Field(default=4, ge=1, le=64)
    shards: int = Field(default=1, ge=1, le=MOST)


class PostgresFactory(StorageFactory):
    """Opens ``postgresql://user:password@host:port/database``."""

    name = "postgresql"
    schemes: tuple[str, ...] = ("postgresql", "postgres")

    def __init__(self, pool: PoolSettings, chosen: PostgresSettings) -> None:
        self._pool = pool
        self._chosen = chosen

    async def open(self, url: str) -> Storage:
        """See ``StorageFactory.open``."""
        from vsqlvault_plugins.storage.postgres.spread import SpreadStorage  # noqa: PLC0415 - asyncpg is for who uses it
        from vsqlvault_plugins.storage.postgres.storage import PostgresStorage  # noqa: PLC0415 - as above

        storage = await PostgresStorage.open(
            url,
            pool_size=self._pool.pool_size,
            shards=self._pool.shards,
            roles=Roles(owner=self._chosen.owner_role, runtime=self._chosen.runtime_role),
            pooler_mode=self._chosen.pooler_mode,
            prepared_statements=self._chosen.keeps_prepared_statements,
        )
        return storage.handed_to(SpreadStorage) if storage.has_citus else storage

    async def backup(self, url: str, directory: Path) -> BackupContents:
        """See ``StorageFactory.backup``."""
        from vsqlvault_plugins.storage.postgres.backup import back_up  # noqa: PLC0415 - as above

        return await back_up(url, directory)

    async def create_database(self, url: str, admin: str) -> bool:
        """See ``StorageFactory.create_database``."""
        from vsqlvault_plugins.storage.postgres.creating import create_database  # noqa: PLC0415 - as above

        return await create_database(url, admin)


@hookimpl
def vault_settings() -> list[PluginSettings]:
    """Offer ``[plugins.postgresql]``, ``storage.pool_size`` and ``storage.shards``."""
    return [
        PluginSettings("postgresql", PostgresSettings),
        PluginSettings("postgresql-pool", PoolSettings, section="storage"),
    ]


@hookimpl
def vault_process_needs(settings: Settings) -> list[ProcessNeeds]:
    """Need the server's port, and the files with its authority and passwords."""
    url = settings.storage.database_url
    return [needs_of(url)] if url.partition(":")[0] in PostgresFactory.schemes else []


@hookimpl
def vault_storages(settings: Settings) -> list[StorageFactory]:
    """Offer PostgreSQL.

    Raises:
        SettingsInvalid: a scrub is configured, but the pooler keeps no sessions.
    """
    chosen: PostgresSettings = settings.plugin("postgresql")
    pool: PoolSettings = settings.plugin("postgresql-pool")
    if chosen.pooler_mode == "transaction" and settings.purge.scrub != "off":
        raise SettingsInvalid(
            'purge.scrub: expected "off" with plugins.postgresql.pooler_mode = "transaction", because a scrub needs a session:'
            " run vsql-vault scrub with a connection that does not use the pooler"
        )
    return [PostgresFactory(pool, chosen)]
