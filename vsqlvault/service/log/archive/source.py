"""Reads the log of a vault and its archives as one log: a leaf that the vault no longer has comes from the archive."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.archive_check import ArchiveManifest
from vsqlvault.proof.archive_record import ArchiveInvalid, ArchiveRecord
from vsqlvault.proof.archived_leaves import ArchivedLeaves
from vsqlvault.proof.log_check import Finding
from vsqlvault.proof.note import VerifierKey
from vsqlvault.proof.state_replay import StateReplay
from vsqlvault.proof.tiles import WIDTH
from vsqlvault.proof.tree import HASH_BYTES, leaf_hash
from vsqlvault.service.log.archive.archiver import check_files
from vsqlvault.service.log.archive.files import ArchiveFiles, ArchiveUnusable
from vsqlvault.service.log.verification import LogSource, Progress, VerificationResult, verify_log


class ArchivedSource:
    """A log whose missing leaves are in ``directories``. ``findings`` are those about the archives.

    ``remarks`` has an archive that was written and not recorded yet. No row may be missing under it.
    """

    def __init__(self, inner: LogSource, directories: Sequence[ArchiveFiles], documents: Collection[str]) -> None:
        """``documents``: the records of archives in the vault. Raises ArchiveUnusable: a manifest is malformed."""
        self.remarks: list[str] = []
        self._inner = inner
        self._archived = ArchivedLeaves(documents)
        self._files: dict[int, tuple[ArchiveFiles, ArchiveManifest]] = {}
        for files in directories:
            for number in files.numbers():
                if (manifest := files.manifest(number)) is not None:
                    self._files.setdefault(number, (files, manifest))
        if not self._files:
            where = ", ".join(str(files.directory) for files in directories)
            raise ArchiveUnusable(f"--archive: expected a directory with an archive, found no manifest in {where}")
        self._records = {record.number: record for record in map(_parsed, documents) if record is not None}

    @property
    def from_archives(self) -> int:
        """The number of leaves that the vault no longer has."""
        return self._archived.missing

    @property
    def malformed(self) -> Sequence[str]:
        """The documents that are not records of archives."""
        return self._archived.malformed

    async def checkpoints(self) -> Sequence[str]:
        """See ``LogSource.checkpoints``."""
        return await self._inner.checkpoints()

    async def bundle(self, index: int, width: int) -> Sequence[bytes]:
        """See ``LogSource.bundle``."""
        leaves = list(await self._inner.bundle(index, width))
        leaves += [b""] * (width - len(leaves))
        tile = await self._inner.tile(TileKey(0, index))
        archived: Sequence[bytes] | None = None
        for place, leaf in enumerate(leaves):
            stored = tile[place * HASH_BYTES : (place + 1) * HASH_BYTES]
            is_missing = self._archived.stands_for(index * WIDTH + place, leaf, stored)
            self._archived.take(index * WIDTH + place, leaf, stored if is_missing else leaf_hash(leaf))
            if not leaf:
                archived = self._bundle(index) if archived is None else archived
                leaves[place] = archived[place] if place < len(archived) else b""
        return leaves

    async def tile(self, key: TileKey) -> bytes:
        """See ``LogSource.tile``."""
        return await self._inner.tile(key)

    async def anomalies(self) -> Sequence[Finding]:
        """See ``LogSource.anomalies``."""
        return await self._inner.anomalies()

    def findings(self, good: int, keys: Collection[VerifierKey]) -> list[Finding]:
        """Return what is wrong with the archives, once every leaf was read, and with the rows that must have stayed.

        ``good``: the size of the log that verifies. ``keys``: the trusted keys, with those that the log has signed.
        """
        found = [Finding(*each) for each in self._archived.finish(good)]
        for number, (files, manifest) in sorted(self._files.items()):
            record = self._records.get(number)
            if record is None and self._is_next(manifest):
                self.remarks.append(
                    f"archive {number} is not recorded: its run was interrupted, and the next run repeats it"
                )
            elif record is None:
                found.append(Finding(manifest.first, f"archive {number}: the log does not record it"))
            elif differences := manifest.differences(record):
                what = f"archive {number} is not the recorded one: {', '.join(differences)} differ"
                found.append(Finding(record.first, what))
            found += [
                Finding(manifest.first, f"archive {number}: {what}") for what in check_files(files, number, tuple(keys))
            ]
        return found

    def _is_next(self, manifest: ArchiveManifest) -> bool:
        """Return whether an archive continues the last recorded one, as that of an interrupted run does."""
        newest = max(self._records, default=0)
        end = self._records[newest].end if newest else 0
        return (manifest.number, manifest.first) == (newest + 1, end)

    def _bundle(self, index: int) -> Sequence[bytes]:
        """Return the leaves of an archived bundle. An archive that no record names stands for no row."""
        for number, (files, manifest) in self._files.items():
            if number in self._records and manifest.first <= index * WIDTH < manifest.end:
                return files.bundle(index)
        return ()


async def verify_with_archives(
    source: LogSource,
    keys: Collection[VerifierKey],
    kept: Collection[str],
    progress: Progress,
    replay: StateReplay | None,
    directories: Sequence[Path],
    documents: Collection[str],
) -> VerificationResult:
    """Verify a log and the archives in ``directories`` as one log. ``documents``: the records of archives in the vault.

    Raises:
        ArchiveUnusable: there is no archive, or a manifest is malformed. NoteRefused, Unavailable.
    """
    whole = ArchivedSource(source, [ArchiveFiles(each) for each in directories], documents)
    verdict = await verify_log(whole, keys, kept, progress, replay)
    found = await asyncio.to_thread(whole.findings, verdict.size, verdict.keys)
    findings = sorted([*verdict.findings, *found])
    remarks = [*verdict.remarks, *whole.remarks]
    verdict = replace(verdict, findings=findings, remarks=remarks, archived=whole.from_archives)
    return verdict.with_malformed(whole.malformed, tables_follow=replay is not None)


def at_hand(verdict: VerificationResult, *, with_archives: bool) -> list[str]:
    """Return a sentence about the rows that are not in the vault, if there are any."""
    if not verdict.archived:
        return []
    if with_archives:
        return [f"{verdict.archived} rows are not in the vault: they were read from the archive."]
    what = f"{verdict.archived} rows are in archives and were not read: their hashes stand for them."
    return [f"{what} Use --archive DIR to verify them too."]


def _parsed(document: str) -> ArchiveRecord | None:
    try:
        return ArchiveRecord.parse(document)
    except ArchiveInvalid:
        return None
