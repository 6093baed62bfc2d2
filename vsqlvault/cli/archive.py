"""``vsql-vault archive-audit``: archives closed parts of the log for any file server, and verifies such an archive."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from vsqlvault.cli.output import add_json, print_json
from vsqlvault.cli.output_files import require_directory
from vsqlvault.cli.periods import time_argument
from vsqlvault.cli.progress import Bar
from vsqlvault.cli.verify import add_verifier_keys, keys_in, verifiers_of
from vsqlvault.config import Settings
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.proof.archive_record import ArchiveRecord
from vsqlvault.proof.note import VerifierKey
from vsqlvault.runtime import open_vault, run_to_end
from vsqlvault.sandbox.priority import yield_processor
from vsqlvault.service.log.archive.archiver import LogArchiver, check_files
from vsqlvault.service.log.archive.files import ArchiveFiles, ArchiveUnusable

ReadSettings = Callable[[argparse.Namespace], Settings]
MAX_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_json(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="DIR", help="the directory of the archive, which must exist")
    what.add_argument(
        "--check", type=Path, metavar="DIR", help="only verify the archives in a directory, without the vault"
    )
    parser.add_argument(
        "--before",
        type=time_argument,
        metavar="TIME",
        help="archive only rows under a checkpoint that was signed before this time (RFC 3339); default: the newest",
    )
    add_verifier_keys(parser)


def archive(options: argparse.Namespace, read_settings: ReadSettings) -> int:
    """Archive the log, or verify archives. Return 0, or 1 for an archive that does not verify.

    Raises:
        FileRefused: the directory does not exist. ArchiveUnusable: it cannot be used, or what was written does not verify.
            StartUpRefused, Unavailable.
    """
    if options.check:
        keys = keys_in(options.vkey) or verifiers_of(read_settings(options))
        return _check(ArchiveFiles(options.check), keys, as_json=options.json)
    require_directory("--out", options.out)
    settings = read_settings(options)
    keys = keys_in(options.vkey) or verifiers_of(settings)
    bar = Bar("leaves written")

    async def run() -> ArchiveRecord | None:
        async with open_vault(settings, signs=False, creates=False) as vault:
            archiver = LogArchiver(vault.storage, vault.queue, keys)
            return await archiver.archive(Call(SYSTEM, secrets.token_hex(16)), options.out, options.before, bar)

    try:
        # Only the threads beside the loop yield the processor: the commit of the record takes the lock of the vault.
        record = run_to_end(run(), on_thread_start=yield_processor)
    finally:
        bar.end()
    if options.json:
        print_json({"archive": record.document if record else None})
    elif record is None:
        print("nothing to archive: every closed entry bundle is in an archive")
    else:
        leaves = f"leaves {record.first} to {record.end - 1}"
        print(f"archive {record.number}: {leaves}, verified and recorded, in {record.place}")
    return 0


def _check(files: ArchiveFiles, keys: Sequence[VerifierKey], *, as_json: bool) -> int:
    numbers = files.numbers()
    if not numbers:
        raise ArchiveUnusable(f"--check: expected a directory with an archive, found no manifest in {files.directory}")
    found: dict[int, list[str]] = {}
    end: int | None = None
    for number in numbers:
        manifest = files.manifest(number)
        found[number] = check_files(files, number, keys)
        if manifest is not None and end is not None and manifest.first != end:
            found[number].append(f"it begins at leaf {manifest.first}, expected {end}, where the one before ends")
        end = manifest.end if manifest else None
    if as_json:
        print_json({"verifies": not any(found.values()), "archives": [
            {"number": number, "findings": findings} for number, findings in found.items()
        ]})  # fmt: skip
    for number, findings in () if as_json else found.items():
        print(f"archive {number}: {'DOES NOT VERIFY' if findings else 'verifies'}")
        for what in findings[:MAX_SHOWN]:
            print(f"  {what}")
    return 1 if any(found.values()) else 0
