"""Opens and closes a vault and its storage."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from vsqlvault.config import Settings
from vsqlvault.errors import PluginFailed, PluginUnusable, SettingsInvalid, VaultError
from vsqlvault.interfaces.storage import MigrationStatus, Storage
from vsqlvault.model.sandbox import StepState
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime.assembly import assemble
from vsqlvault.runtime.tuning import DEFAULT_TUNING, Tuning
from vsqlvault.sandbox.sandbox import NOT_APPLIED
from vsqlvault.service.log.signing_keys import load_signing
from vsqlvault.service.plugin_calls import call_plugin
from vsqlvault.service.vault import Vault

log = logging.getLogger(__name__)
OPEN_SECONDS = 300.0
CLOSE_SECONDS = 10.0


@asynccontextmanager
async def open_vault(
    settings: Settings,
    *,
    plugins: Plugins | None = None,
    hardening: Sequence[StepState] = NOT_APPLIED,
    tuning: Tuning = DEFAULT_TUNING,
) -> AsyncIterator[Vault]:
    """Run a vault for the length of the block: storage open, schema current, plugins started. Background work is not included.

    ``plugins``: already loaded plugins of the settings; ``hardening``: the result of ``harden``.

    Raises:
        StartUpRefused: settings, plugins or storage are unusable.
        StorageUnavailable: the storage cannot be reached.
    """
    plugins = plugins or Plugins(settings)
    signing = load_signing(settings.audit)
    async with AsyncExitStack() as stack:
        storage = await open_storage(plugins)
        stack.push_async_callback(_close, storage)
        status = await storage.migrate()
        if status.before != status.after:
            log.info("schema migrated", extra={"from": status.before, "to": status.after})
        vault = assemble(plugins, storage, hardening, signing, tuning)
        await vault.log.sequencer.check_key()
        stack.push_async_callback(_stop_plugins, plugins)
        await plugins.start(storage.describe())
        await vault.log.quarantine.begin()
        await vault.log.observers.begin()
        stack.push_async_callback(settle, vault)
        yield vault


async def open_storage(plugins: Plugins) -> Storage:
    """Open the storage whose plugin provides the scheme of ``storage.database_url``. The schema is not changed.

    Raises:
        SettingsInvalid: no plugin provides it. StorageUnavailable, UnsafeStorage: from the plugin.
    """
    url = plugins.settings.storage.database_url
    scheme = url.partition(":")[0]
    factories = plugins.offers("vault_storages")
    if scheme not in factories:
        known = ", ".join(f"{name}:" for name in sorted(factories)) or "none (is the plugin installed?)"
        raise SettingsInvalid(f"storage.database_url: expected a URL with one of the schemes {known}, found {scheme}:")
    factory = factories[scheme]
    try:
        storage: Storage = await call_plugin(
            factory, lambda: factory.open(url), object, OPEN_SECONDS, passes=(VaultError,)
        )
    except PluginFailed as failed:
        raise PluginUnusable(f"storage {scheme}: {type(failed.__cause__ or failed).__name__} when opened") from failed
    return storage


async def migrated(plugins: Plugins) -> MigrationStatus:
    """Migrate the storage of the settings to the newest schema. Raises as ``open_storage``."""
    storage = await open_storage(plugins)
    try:
        return await storage.migrate()
    finally:
        await storage.close()


async def settle(vault: Vault) -> None:
    """Wait for the work in progress before the storage is closed."""
    vault.purge.sweeper.stop()
    await vault.audit.recorder.drain()
    await vault.audit.auth_failures.flush()
    await vault.audit.unaudited.flush()
    await vault.credentials.inventory.flush()
    await vault.queue.drain()


async def _close(storage: Storage) -> None:
    with suppress(PluginFailed):  # it is logged
        await call_plugin("storage", storage.close, object, CLOSE_SECONDS, passes=(VaultError,))


async def _stop_plugins(plugins: Plugins) -> None:
    for name in await plugins.stop():
        log.error("plugin did not shut down cleanly", extra={"plugin": name})
