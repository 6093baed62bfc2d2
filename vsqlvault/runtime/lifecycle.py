"""Opens and closes a vault and its storage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from vsqlvault.config import Settings
from vsqlvault.errors import PluginFailed, PluginUnusable, SchemaTooOld, SettingsInvalid, VaultError
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.storage import MigrationStatus, Storage, StorageFactory
from vsqlvault.model.sandbox import StepState
from vsqlvault.plugin_loader import Plugins
from vsqlvault.proof.note import NoteRefused, open_note
from vsqlvault.runtime.assembly import assemble
from vsqlvault.runtime.contained_storage import contained
from vsqlvault.runtime.tuning import DEFAULT_TUNING, Tuning
from vsqlvault.sandbox.sandbox import NOT_APPLIED
from vsqlvault.service.log.sequencer import Signing
from vsqlvault.service.log.signing_keys import load_signing
from vsqlvault.service.plugin_calls import call_plugin
from vsqlvault.service.vault import Vault

log = logging.getLogger(__name__)
OPEN_SECONDS = 300.0
SETTLE_SECONDS = 5.0
CLOSE_SECONDS = 10.0


@asynccontextmanager
async def open_vault(
    settings: Settings,
    *,
    plugins: Plugins | None = None,
    hardening: Sequence[StepState] = NOT_APPLIED,
    tuning: Tuning = DEFAULT_TUNING,
    signs: bool = True,
    verifies: bool = False,
    creates: bool = True,
) -> AsyncIterator[Vault]:
    """Run a vault for the length of the block: storage open, schema current, plugins started. Background work is not included.

    ``plugins``: already loaded plugins of the settings; ``hardening``: the result of ``harden``; none: the sandbox of the
    server is not known, as in a command that writes a report. ``signs``: whether the signing key is loaded; a command that
    signs nothing does not need it. ``verifies``: whether a vault that does not sign has the verifier keys of the settings, if
    the signing keys can be read. ``creates``: whether a vault that does not exist is created.

    Raises:
        StartUpRefused: settings, plugins or storage are unusable.
        StorageUnavailable: the storage cannot be reached.
    """
    plugins = plugins or Plugins(settings)
    signing = _signing(settings, signs=signs, verifies=verifies)
    async with AsyncExitStack() as stack:
        storage = await open_storage(plugins, creates=creates)
        stack.push_async_callback(_close, storage)
        status = await migrate_at_start(storage, settings, creates=creates)
        if status.before != status.after:
            log.info("schema migrated", extra={"from": status.before, "to": status.after})
        fitting = await _fitting(signing, storage)
        vault = assemble(plugins, storage, hardening, fitting if signs else fitting.without_secrets(), tuning)
        await vault.log.sequencer.check_key()
        stack.push_async_callback(_stop_plugins, plugins)
        await plugins.start(storage.describe())
        await vault.log.quarantine.begin()
        await vault.log.observers.begin()
        stack.push_async_callback(settle, vault)
        yield vault


def storage_of(plugins: Plugins) -> StorageFactory:
    """Return the plugin's factory that claims the scheme of ``storage.database_url``.

    Raises:
        SettingsInvalid: no plugin claims it.
    """
    scheme = plugins.settings.storage.database_url.partition(":")[0]
    factories = plugins.offers("vault_storages")
    if scheme not in factories:
        known = ", ".join(f"{name}:" for name in sorted(factories)) or "none (is the plugin installed?)"
        hint = did_you_mean(scheme, factories)
        raise SettingsInvalid(
            f"storage.database_url: expected a URL with one of the schemes {known}, found {scheme}:{hint}"
        )
    factory: StorageFactory = factories[scheme]
    return factory


async def open_storage(plugins: Plugins, *, creates: bool = True) -> Storage:
    """Open the storage whose plugin provides the scheme of ``storage.database_url``. The schema is not changed.

    ``creates``: whether a database that does not exist may be created, as SQLite does.

    Raises:
        SettingsInvalid: no plugin provides it, or there is no database. StorageUnavailable, UnsafeStorage: from the plugin.
    """
    url, factory = plugins.settings.storage.database_url, storage_of(plugins)

    async def opened() -> Storage:
        if not creates and await factory.would_create(url):
            place = urlsplit(url).path.removeprefix("/")  # the path alone has no password
            raise SettingsInvalid(
                f"storage.database_url: there is no database {place}; nothing was created"
                " (vsql-vault migrate creates the vault)"
            )
        return await factory.open(url)

    try:
        storage: Storage = await call_plugin(factory, opened, object, OPEN_SECONDS, passes=(VaultError,))
    except PluginFailed as failed:
        scheme, error = url.partition(":")[0], failed.__cause__ or failed
        raise PluginUnusable(f"storage {scheme}: {type(error).__name__} when opened") from failed
    try:
        return contained(
            storage, plugins.settings.storage.timeout_seconds, plugins.settings.storage.slow_timeout_seconds
        )
    except Exception as error:
        scheme = url.partition(":")[0]
        raise PluginUnusable(f"storage {scheme}: {error}") from error


async def migrate_at_start(storage: Storage, settings: Settings, *, creates: bool = True) -> MigrationStatus:
    """Migrate the schema, unless ``storage.migrate`` leaves that to ``vsql-vault migrate``.

    An older server that uses the same database could not start again. So the default is ``manual`` where the database may be
    shared and is not empty. If steps leave the version as it is, the start then goes on without them. ``creates``: whether an
    empty database becomes a vault.

    Raises:
        SchemaTooOld, SchemaTooNew. SettingsInvalid: the database is empty.
    """
    status = await storage.schema_status()
    if not creates and not status.before:
        raise SettingsInvalid(
            "storage.database_url: expected the database of a vault, found an empty one; nothing was created"
            " (vsql-vault migrate creates the vault)"
        )
    usual = "manual" if status.is_shared and status.before else "auto"
    if (settings.storage.migrate or usual) == "manual":
        if status.before < status.after:
            raise SchemaTooOld(
                f"the schema has version {status.before}, this program needs {status.after}: run vsql-vault migrate"
                ' (--plan shows what it does), or set storage.migrate = "auto"'
            )
        if status.steps:
            return replace(status, steps=())
    return await storage.migrate()


def _signing(settings: Settings, *, signs: bool, verifies: bool) -> Signing:
    """Return the signing keys, or none. Raises SettingsInvalid: a key that signs is not available."""
    if not signs and not verifies:
        return Signing()
    try:
        return load_signing(settings.audit, default_file=settings.default_signing_key_file)
    except SettingsInvalid:
        if signs:
            raise
        return Signing()


async def _fitting(signing: Signing, storage: Storage) -> Signing:
    """Return who signs: a key that was generated by default never signs a log that another key has signed."""
    if not signing.is_default or signing.current is None:
        return signing
    newest = await storage.newest_checkpoint()
    if newest is None:
        return signing
    try:
        open_note(newest.note, [signing.current.verifier])
    except NoteRefused:
        log.warning(
            "the log is signed by another key than the generated one: this process does not sign",
            extra={"verifier_key": str(signing.current.verifier)},
        )
        return Signing()
    return signing


async def was_signed(plugins: Plugins) -> bool:
    """Return whether the log of the storage has a checkpoint. Raises as ``open_storage``."""
    storage = await open_storage(plugins)
    try:
        status = await storage.schema_status()
        if status.before in {0, status.after}:
            return bool(status.before) and await storage.newest_checkpoint() is not None
        return True  # another version of the schema: it is not known
    finally:
        await _close(storage)


async def planned(plugins: Plugins, *, creates: bool = True) -> MigrationStatus:
    """Return what ``migrated`` would do. ``creates`` as that of ``open_storage``. Raises as ``open_storage``."""
    storage = await open_storage(plugins, creates=creates)
    try:
        return await storage.schema_status()
    finally:
        await _close(storage)


async def migrated(plugins: Plugins, *, at_start: bool = False) -> MigrationStatus:
    """Update the schema of the storage; ``at_start``: as ``migrate_at_start``. Raises as ``open_storage``."""
    storage = await open_storage(plugins)
    try:
        return await (migrate_at_start(storage, plugins.settings) if at_start else storage.migrate())
    finally:
        await _close(storage)


async def settle(vault: Vault, within_seconds: float = SETTLE_SECONDS) -> None:
    """Wait for the work in progress before the storage is closed, and commit the rows that are counted.

    ``within_seconds``: for the work, and again for the rows. What does not end in time is cancelled: a storage that does not
    answer must not keep the process.
    """
    vault.purge.sweeper.stop()
    await vault.audit.recorder.drain(within_seconds)
    try:
        async with asyncio.timeout(within_seconds):
            await vault.audit.auth_failures.flush()
            await vault.audit.unaudited.flush()
            await vault.credentials.inventory.flush()
            await vault.key_usage.flush()
            await vault.queue.drain()
    except TimeoutError:
        log.error("the storage did not answer in time: the last rows may be missing")  # noqa: TRY400 - no error of ours


async def _close(storage: Storage) -> None:
    try:
        await call_plugin("storage", storage.close, object, CLOSE_SECONDS, passes=(VaultError,))
    except PluginFailed:  # it is logged
        return
    except VaultError as error:
        log.error("the storage was not closed", extra={"error": error.slug})  # noqa: TRY400 - the text of its error


async def _stop_plugins(plugins: Plugins) -> None:
    for name in await plugins.stop():
        log.error("plugin did not shut down cleanly", extra={"plugin": name})
