"""``vsql-vault import``: stores the entries of a file or of another vault, with their owners and times."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from vsqlvault.cli.imports.copying import copy_vault
from vsqlvault.cli.imports.lines import Lines
from vsqlvault.cli.imports.rejects import Rejects, rejects_in
from vsqlvault.cli.imports.source import Record
from vsqlvault.cli.imports.vibesql import TABLE, vibesql_entries
from vsqlvault.cli.imports.warnings import ImportWarnings
from vsqlvault.cli.output import add_json, print_json
from vsqlvault.cli.progress import Bar
from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.runtime import open_vault, run_to_end
from vsqlvault.service.entries.importer import ImportCount
from vsqlvault.service.entries.imports import Existing, ImportRules, Result
from vsqlvault.service.vault import Vault

NDJSON, VIBESQL, VAULT = "ndjson", "vibesql-vault", "vault"
BATCH = 512
BATCH_BYTES = 4 * 1024 * 1024
READ_AT_ONCE = 16
"""How many records are read before the batch that is being stored gets a turn."""

REJECTED = 1
STORED = frozenset({Result.CREATED, Result.REPLACED})
ReadSettings = Callable[[argparse.Namespace], Settings]


class Source(Protocol):
    """Where entries come from. ``total`` is 0 if their number is not known."""

    total: int

    def records(self) -> AsyncIterator[Record]:
        """Yield each record."""
        ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_json(parser)
    parser.add_argument("source", metavar="SOURCE", help="a file, - for standard input, or the URL of a database")
    parser.add_argument(
        "--from",
        dest="kind",
        choices=(NDJSON, VIBESQL, VAULT),
        default=NDJSON,
        help="what the source is; default: ndjson",
    )
    parser.add_argument(
        "--table", default=TABLE, metavar="NAME", help=f"the table of a vibesql-vault; default: {TABLE}"
    )
    parser.add_argument(
        "--existing",
        choices=[each.value for each in Existing],
        default=Existing.REJECT.value,
        help="what to do if an id has another entry: reject (default), keep it, or replace it by one that is newer",
    )
    parser.add_argument(
        "--with-expired", action="store_true", help="store expired entries too: the next sweep purges them with proof"
    )
    parser.add_argument(
        "--shorten-expiry",
        action="store_true",
        help="shorten an expiry beyond the maximum of the purpose to the maximum",
    )
    parser.add_argument("--rejects", type=Path, metavar="FILE", help="write rejected records to a new file")
    parser.add_argument("--dry-run", action="store_true", help="check every record, and store nothing")


def run_import(options: argparse.Namespace, read_settings: ReadSettings) -> int:
    """Import, and print the count. Return 0, or 1 if records were rejected.

    Raises:
        SettingsInvalid: the source or the file of rejects cannot be used. StartUpRefused, Unavailable.
    """
    settings = read_settings(options)
    if options.kind == VAULT:
        return copy_vault(options, settings)
    rules = ImportRules(
        existing=Existing(options.existing), takes_expired=options.with_expired, shortens=options.shorten_expiry
    )

    async def run() -> ImportRun:
        async with _opened(options, settings) as source, open_vault(settings, signs=False, creates=False) as vault:
            run = ImportRun(vault, rules, rejects, dry_run=options.dry_run)
            await run.over(source, options.kind)
            return run

    with rejects_in(options.rejects) as rejects:
        done = run_to_end(run())
        rejects.end()
    _print(done, options)
    return REJECTED if done.count.by_result[Result.REJECTED] else 0


class ImportRun:
    """One run over a source, batch by batch."""

    def __init__(self, vault: Vault, rules: ImportRules, rejects: Rejects, *, dry_run: bool) -> None:
        self._vault = vault
        self._rules = rules
        self._rejects = rejects
        self._dry_run = dry_run
        self._call = Call(SYSTEM, secrets.token_hex(16))
        self.count = ImportCount()
        self.warnings = ImportWarnings(vault.credentials.inventory.known_apps)
        self._taking: asyncio.Future[None] | None = None

    async def over(self, source: Source, name: str) -> None:
        """Import every record of the source, then commit the row that counts the run. Raises Unavailable."""
        bar = Bar("entries")
        batch: list[Record] = []
        size = read = 0
        limit = min(BATCH, self._vault.queue.slice)
        try:
            async for record in source.records():
                read += 1
                batch.append(record)
                size += len(record.entry.value) if record.entry else 0
                if len(batch) >= limit or size >= BATCH_BYTES:
                    await self._begin(batch)
                    batch, size = [], 0
                    bar(read, source.total or read)
                elif read % READ_AT_ONCE == 0:
                    await asyncio.sleep(0)
            await self._begin(batch)
            await self._end()
        finally:
            bar.end()
        if not self._dry_run:
            await self._vault.importer.finish(self._call, self.count, name)

    async def _begin(self, batch: list[Record]) -> None:
        """Take a batch once the one before is taken. The next one is read meanwhile."""
        await self._end()
        self._taking = asyncio.ensure_future(self._take(batch))

    async def _end(self) -> None:
        if self._taking is not None:
            await self._taking

    async def _take(self, batch: list[Record]) -> None:
        entries = [record.entry for record in batch if record.entry is not None]
        taken = iter(await self._vault.importer.take(self._call, entries, self._rules, dry_run=self._dry_run))
        for record in batch:
            if record.entry is None:
                self._reject(record, record.faults)
                continue
            imported = next(taken)
            if imported.result is Result.REJECTED:
                self._reject(record, imported.faults)
                continue
            self.count.add(imported.result)
            for warning in imported.warnings:
                self.warnings.add(warning)
            if imported.result in STORED:
                self.warnings.check_owner(record.entry.owner_app)

    def _reject(self, record: Record, faults: Any) -> None:
        self.count.add(Result.REJECTED)
        self._rejects.add(record, faults)


@asynccontextmanager
async def _opened(options: argparse.Namespace, settings: Settings) -> AsyncIterator[Source]:
    """Open the source for the length of the block. Raises SettingsInvalid."""
    limit = settings.server.max_value_bytes
    if options.kind == VIBESQL:
        async with vibesql_entries(options.source, options.table, limit) as rows:
            yield rows
    elif options.source == "-":
        yield Lines(sys.stdin.buffer, 0, limit)
    else:
        try:
            file = Path(options.source).open("rb")  # noqa: ASYNC230, SIM115 - nothing else runs in this loop
        except OSError as error:
            raise SettingsInvalid(f"SOURCE: expected a file that can be read, found: {error.strerror}") from None
        with file:
            yield Lines(file, 0, limit)


def _print(done: ImportRun, options: argparse.Namespace) -> None:
    numbers = {str(result): number for result, number in done.count.by_result.items()}
    if options.json:
        warnings = [{"warning": text, "entries": number} for text, number in done.warnings.shown.items()]
        more = {"more_warnings": done.warnings.more} if done.warnings.more else {}
        print_json({**numbers, "dry_run": options.dry_run, "warnings": warnings, **more})
        return
    for text, number in done.warnings.shown.items():
        print(f"note: {text} ({number} entries)", file=sys.stderr)
    if done.warnings.more:
        print(f"note: other warnings: {done.warnings.more}, not shown", file=sys.stderr)
    print(f"{'would be: ' if options.dry_run else ''}{done.count}")
