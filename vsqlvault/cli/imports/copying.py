"""``vsql-vault import --from vault``: copies a whole vault, with its log, into an empty storage."""

from __future__ import annotations

import argparse
import secrets

from vsqlvault.cli.output import print_json
from vsqlvault.cli.progress import Bar
from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid, StorageUnavailable
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.principal import SYSTEM
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import migrate_at_start, open_storage, run_to_end
from vsqlvault.service.log.vault_copy import END_DETAIL, CopyCount, VaultCopy


def copy_vault(options: argparse.Namespace, settings: Settings) -> int:
    """Copy the vault at the URL into the storage of the settings. Return 0.

    Raises:
        SettingsInvalid: one of the two cannot be used. StartUpRefused, Unavailable.
    """
    if options.dry_run or options.rejects:
        raise SettingsInvalid("--from vault: expected neither --dry-run nor --rejects: it copies all, or nothing")
    if options.source == settings.storage.database_url:
        raise SettingsInvalid("SOURCE: expected another storage than storage.database_url")
    of_source = settings.storage.model_copy(update={"database_url": options.source})
    count = run_to_end(_copy(settings.model_copy(update={"storage": of_source}), settings))
    if options.json:
        print_json(count)
    elif count.was_complete:
        print(f"The vault was copied before: {count.rows} rows, {count.leaves} leaves.")
    else:
        print(f"{count.rows} rows, {count.leaves} leaves and {count.entries} entries were copied.")
        print("Verify the copy with: vsql-vault verify --vkey KEY")
    return 0


async def _copy(of_source: Settings, of_target: Settings) -> CopyCount:
    source = await _opened(of_source)
    try:
        status = await source.schema_status()
        if not status.before:
            raise SettingsInvalid("SOURCE: expected the storage of a vault, found an empty one")
        if status.before != status.after:
            raise SettingsInvalid(
                f"SOURCE: expected schema version {status.after}, found {status.before}: run vsql-vault migrate on it"
            )
        target = await open_storage(Plugins(of_target))
        try:
            await migrate_at_start(target, of_target)
            return await _run(source, target)
        finally:
            await target.close()
    finally:
        await source.close()


async def _opened(of_source: Settings) -> Storage:
    """Open the source. Its errors name the argument, and not the setting of the target."""
    try:
        return await open_storage(Plugins(of_source), creates=False)
    except (SettingsInvalid, StorageUnavailable) as error:
        text = str(error).removeprefix("storage.database_url: ")
        raise SettingsInvalid(f"SOURCE: {text}") from error


async def _run(source: Storage, target: Storage) -> CopyCount:
    bar = Bar("rows")
    reading = await source.clock()
    end = AccessRecord(
        at=max(reading.clock, reading.mark or reading.clock),
        request_id=secrets.token_hex(16),
        operation=Operation.IMPORT,
        outcome=Outcome.GRANTED,
        status=200,
        app=SYSTEM.app,
        method=SYSTEM.method,
        credential_id=SYSTEM.credential_id,
        detail=END_DETAIL,
    )
    try:
        return await VaultCopy(source, target, bar).run(end)
    finally:
        bar.end()
