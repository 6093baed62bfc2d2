"""``vsql-vault drop-archived``: deletes archived rows of the log from the storage, once the archive is verified."""

from __future__ import annotations

import argparse
import os
import pwd
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from vsqlvault.cli.output import add_json, print_json
from vsqlvault.cli.output_files import require_directory
from vsqlvault.cli.progress import Bar
from vsqlvault.cli.verify import add_verifier_keys, keys_in
from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.runtime import open_vault, run_to_end
from vsqlvault.sandbox.priority import yield_processor
from vsqlvault.service.log.archive.drop import ArchiveDropper, Dropped, DropRules
from vsqlvault.service.log.archive.files import ArchiveFiles, ArchiveUnusable
from vsqlvault.service.log.signing_keys import load_signing

ReadSettings = Callable[[argparse.Namespace], Settings]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_json(parser)
    parser.add_argument(
        "--archive",
        action="append",
        required=True,
        type=Path,
        metavar="DIR",
        help="a directory with archives, preferably a copy that the vault's host cannot change; repeatable",
    )
    add_verifier_keys(parser)
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="DELIVERY",
        help="a delivery that no longer exists and whose position does not count, such as export:siem; repeatable",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="also go through archives that were dropped before: rows of entries that were purged since are dropped",
    )


def drop(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Drop archived rows.

    Raises:
        FileRefused: a directory does not exist. ArchiveUnusable: a guard refuses; nothing of that archive is dropped.
            StartUpRefused, Unavailable, ClockJumped.
    """
    for directory in options.archive:
        require_directory("--archive", directory)
    settings = read_settings(options)
    rules = DropRules(
        min_days=settings.audit.min_days_at_hand,
        min_days_from="settings" if "min_days_at_hand" in settings.audit.model_fields_set else "default",
        operator=operator(),
        without=frozenset(options.without),
        again=options.again,
    )
    bar = Bar("leaves")

    async def run() -> Dropped:
        call = Call(SYSTEM, secrets.token_hex(16))
        async with open_vault(settings, signs=_has_key(settings), creates=False) as vault:
            await vault.log.quarantine.require()
            now = await vault.purge.clock_guard.sound_time(call, confirmed=False)
            sign = vault.log.sequencer.sequence if vault.log.sequencer.verifier else None
            keys = keys_in(options.vkey) or await vault.log.verifier.trusted_keys()
            if not keys:
                raise ArchiveUnusable("--vkey: expected a verifier key, because the settings have no signing key")
            dropper = ArchiveDropper(vault.storage, vault.queue, keys, rules, sign)
            return await dropper.drop(call, [ArchiveFiles(each) for each in options.archive], now, bar)

    try:
        # Only the threads that verify and sync yield the processor: requests wait for the locks of those that delete.
        dropped = run_to_end(run(), on_thread_start=yield_processor)
    finally:
        bar.end()
    _show(dropped, as_json=options.json)


def operator() -> str:
    """Return the account and the host of this process, for the record."""
    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        account = str(os.getuid())
    return f"{account}@{socket.gethostname()}"


def _has_key(settings: Settings) -> bool:
    try:
        return load_signing(settings.audit, default_file=settings.default_signing_key_file).current is not None
    except SettingsInvalid:
        return False


def _show(dropped: Dropped, *, as_json: bool) -> None:
    drops: Sequence[object] = [
        {"archive": each.archive, "first": each.first, "end": each.end, "absent_rows": each.absent_rows}
        for each in dropped.drops
    ]
    if as_json:
        print_json({"drops": drops, "stays": dropped.stays or None})
        return
    for each in dropped.drops:
        kept = each.end - each.first - each.absent_rows
        rows = f"{each.absent_rows} rows of leaves {each.first} to {each.end - 1} are dropped"
        print(f"archive {each.archive}: {rows}, {kept} stay")
    if not dropped.drops:
        print("nothing to drop")
    if dropped.stays:
        print(dropped.stays)
