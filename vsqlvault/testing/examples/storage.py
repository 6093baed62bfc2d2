"""Opens ``example:///path``. Until ``open`` returns a storage of its own, the data is in the built-in SQLite storage."""

from importlib.metadata import entry_points
from pathlib import Path

from vsqlvault.config import Settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.storage import Storage, StorageFactory
from vsqlvault.model.sandbox import ProcessNeeds


class ExampleStorages(StorageFactory):
    """Opens storages under the scheme ``example``."""

    name = "example"
    schemes = ("example",)

    async def open(self, url: str) -> Storage:
        """Return the open storage. Replace all of this: return a subclass of ``StorageDefaults``."""
        (point,) = entry_points(group="vsqlvault.plugins", name="storage-sqlite")
        factory: StorageFactory = point.load().vault_storages(Settings())[0]
        return await factory.open(f"sqlite:{url.partition(':')[2]}")


@hookimpl
def vault_storages() -> list[StorageFactory]:
    """Offer the storage."""
    return [ExampleStorages()]


@hookimpl
def vault_process_needs(settings: Settings) -> list[ProcessNeeds]:
    """Declare the folder of the file: everything else is closed while the vault serves."""
    scheme, _, path = settings.storage.database_url.partition(":///")
    return [ProcessNeeds(writable=(str(Path(path).resolve().parent),))] if scheme == ExampleStorages.name else []
