"""Offers ``postgresql:`` URLs, and the settings that only PostgreSQL has."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vsqlvault.config import PluginSettings, PublicSection, Section, Settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.storage import Storage, StorageFactory
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_plugins.storage.postgres.needs import needs_of
from vsqlvault_plugins.storage.postgres.roles import Roles

Role = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]


class PostgresSettings(Section):
    """``[plugins.postgresql]``: roles that ``migrate`` sets up."""

    owner_role: Role | None = None
    runtime_role: Role | None = None


class PoolSettings(PublicSection):
    """``[storage]`` ``pool_size``: connections to the server, per process."""

    pool_size: int = Field(default=4, ge=1, le=64)


class PostgresFactory(StorageFactory):
    """Opens ``postgresql://user:password@host:port/database``."""

    name = "postgresql"
    schemes: tuple[str, ...] = ("postgresql", "postgres")

    def __init__(self, pool_size: int, roles: Roles) -> None:
        self._pool_size = pool_size
        self._roles = roles

    async def open(self, url: str) -> Storage:
        """See ``StorageFactory.open``."""
        from vsqlvault_plugins.storage.postgres.storage import PostgresStorage  # noqa: PLC0415 - asyncpg is for who uses it

        return await PostgresStorage.open(url, pool_size=self._pool_size, roles=self._roles)


@hookimpl
def vault_settings() -> list[PluginSettings]:
    """Offer ``[plugins.postgresql]`` and ``storage.pool_size``."""
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
    """Offer PostgreSQL."""
    chosen: PostgresSettings = settings.plugin("postgresql")
    pool: PoolSettings = settings.plugin("postgresql-pool")
    return [PostgresFactory(pool.pool_size, Roles(owner=chosen.owner_role, runtime=chosen.runtime_role))]
