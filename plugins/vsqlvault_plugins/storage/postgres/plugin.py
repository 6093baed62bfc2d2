"""Offers ``postgresql:`` URLs, and the settings that only PostgreSQL has."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vsqlvault.config import Settings
from vsqlvault.hookspecs import PluginSettings, hookimpl
from vsqlvault.interfaces.storage import Storage, StorageFactory
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_plugins.storage.postgres.needs import needs_of
from vsqlvault_plugins.storage.postgres.roles import Roles

Role = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]


class PostgresSettings(BaseModel):
    """``[plugins.postgresql]``: roles that ``migrate`` sets up."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    owner_role: Role | None = None
    runtime_role: Role | None = None


class PostgresFactory:
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
    """Offer ``[plugins.postgresql]``."""
    return [PluginSettings("postgresql", PostgresSettings)]


@hookimpl
def vault_process_needs(settings: Settings) -> list[ProcessNeeds]:
    """Need the server's port, and the files with its authority and passwords."""
    url = settings.storage.database_url
    return [needs_of(url)] if url.partition(":")[0] in PostgresFactory.schemes else []


@hookimpl
def vault_storages(settings: Settings) -> list[StorageFactory]:
    """Offer PostgreSQL."""
    chosen: PostgresSettings = settings.plugin("postgresql")
    return [PostgresFactory(settings.storage.pool_size, Roles(owner=chosen.owner_role, runtime=chosen.runtime_role))]
