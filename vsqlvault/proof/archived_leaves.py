"""Leaves whose rows are in archives: what the vault may have dropped, and what it must still have. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vsqlvault.proof.archive_drop import drop_in
from vsqlvault.proof.archive_record import ArchiveInvalid, ArchiveRecord, KeptDigest, archive_in
from vsqlvault.proof.tree import HASH_BYTES


class _Archive:
    def __init__(self, record: ArchiveRecord, text: str) -> None:
        self.record = record
        self.text = text
        self.missing = 0
        self.kept = KeptDigest()


class ArchivedLeaves:
    """Takes the leaves of a log in order. ``missing`` counts those whose hash stood for their row.

    ``has_unrecorded``: rows are missing under an archive that no signed leaf records, perhaps not yet. ``malformed`` are the
    texts that are not records of archives.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.missing = 0
        self.has_unrecorded = False
        self.malformed: list[str] = []
        self._archives: list[_Archive] = []
        self._recorded: dict[str, int] = {}
        self._dropped: dict[tuple[int, str], int] = {}
        """The index of the first record of a drop, by number and manifest of the archive."""
        self._place = 0
        for text in texts:
            try:
                self._archives.append(_Archive(ArchiveRecord.parse(text), text))
            except ArchiveInvalid:
                self.malformed.append(text)
        self._archives.sort(key=lambda archive: archive.record.first)

    @property
    def end(self) -> int:
        """The index after the last archived leaf."""
        return max((archive.record.end for archive in self._archives), default=0)

    def stands_for(self, index: int, leaf: bytes, stored: bytes) -> bool:
        """Whether the stored hash stands for a leaf: it is missing, and archived."""
        if leaf or len(stored) != HASH_BYTES or (archive := self._archive_of(index)) is None:
            return False
        archive.missing += 1
        self.missing += 1
        return True

    def take(self, index: int, leaf: bytes, leaf_hash: bytes) -> None:
        """Take the next leaf; b"" if it is missing."""
        if leaf and (archive := self._archive_of(index)) is not None:
            archive.kept.take(leaf, leaf_hash)
        if (text := archive_in(leaf)) is not None:
            self._recorded.setdefault(text, index)
        if (drop := drop_in(leaf)) is not None:
            self._dropped.setdefault((drop.archive, drop.manifest_sha256), index)

    def finish(self, good: int) -> Iterator[tuple[int, str]]:
        """Yield the archives that do not verify: the first leaf of each, and what is wrong.

        ``good``: the size of the largest checkpoint that verifies.
        """
        for archive in self._archives:
            if not archive.missing:
                continue
            record = archive.record
            what = f"{archive.missing} rows are missing, and no signed leaf records"
            if self._recorded.get(archive.text, good) >= good:
                self.has_unrecorded = True
                yield record.first, f"{what} archive {record.number}"
            elif self._dropped.get((record.number, record.manifest_sha256), good) >= good:
                self.has_unrecorded = True
                yield record.first, f"{what} that archive {record.number} was dropped"
            elif (archive.kept.rows, archive.kept.sha256) != (record.kept_rows, record.kept_sha256):
                left, found = record.kept_rows, archive.kept.rows
                yield (
                    record.first,
                    f"archive {record.number} left {left} rows in the vault, and {found} of them are there",
                )

    def _archive_of(self, index: int) -> _Archive | None:
        """Return the archive of a leaf. Leaves come in order."""
        while self._place < len(self._archives) and index >= self._archives[self._place].record.end:
            self._place += 1
        if self._place < len(self._archives) and index in self._archives[self._place].record:
            return self._archives[self._place]
        return None
