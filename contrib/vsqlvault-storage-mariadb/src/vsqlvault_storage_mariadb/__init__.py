"""A storage for vsqlvault in MariaDB, written against ``vsqlvault.storage_defaults`` only."""

from __future__ import annotations

from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.storage import Storage, StorageFactory
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_storage_mariadb.connections import options_of
from vsqlvault_storage_mariadb.storage import MariaDbStorage

SCHEME = "mariadb"


class MariaDbStorages(StorageFactory):
    """Opens ``mariadb://user:password@host:port/database``."""

    name = SCHEME
    schemes: tuple[str, ...] = (SCHEME,)

    async def open(self, url: str) -> Storage:
        """See ``StorageFactory.open``."""
        return await MariaDbStorage.open(url)


@hookimpl
def vault_process_needs(settings: Settings) -> list[ProcessNeeds]:
    """Declare the port of the server, and the file of its certificate authority."""
    url = settings.storage.database_url
    if url.partition(":")[0] != SCHEME:
        return []
    try:
        options = options_of(url)
    except SettingsInvalid:  # opening reports what is wrong with it
        return []
    ports = () if "unix_socket" in options else (options["port"],)
    return [ProcessNeeds(connect_ports=ports, readable=(options["ssl_ca"],) if "ssl_ca" in options else ())]


@hookimpl
def vault_storages() -> list[StorageFactory]:
    """Offer the storage."""
    return [MariaDbStorages()]
