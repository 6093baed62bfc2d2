"""Verifies an archive of the log on its own: its leaves against its tiles, its tiles against its signed checkpoint. No I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from vsqlvault.model.times import format_time, stored_time
from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.archive_record import ArchiveRecord, KeptDigest
from vsqlvault.proof.checkpoint import TreeHead, open_checkpoint
from vsqlvault.proof.log_part import root_of
from vsqlvault.proof.note import NoteRefused, VerifierKey, split_note
from vsqlvault.proof.tiles import HEIGHT, WIDTH, TileMissing, node_within, width_of
from vsqlvault.proof.tree import HASH_BYTES, leaf_hash
from vsqlvault.quick_dataclass import dataclass

FORMAT = "vsqlvault-log-archive-v1"
MAX_MANIFEST_BYTES = 1024 * 1024
_AT = re.compile(rb'"(?:at|purged_at)":"([^"]+)"')
_COUNTS = ("number", "first", "end", "access_rows", "purge_rows", "kept_rows")


class ManifestInvalid(ValueError):
    """A file is not the manifest of an archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveManifest:
    """What an archive says about itself: its leaves, and the signed checkpoint that they belong to."""

    number: int
    first: int
    end: int
    access_rows: int
    purge_rows: int
    kept_rows: int
    kept_sha256: str
    newest_row_at: datetime
    checkpoint: str

    @property
    def content(self) -> bytes:
        """The manifest as a file."""
        document = {"format": FORMAT, **{name: getattr(self, name) for name in _COUNTS}}
        document |= {"kept_sha256": self.kept_sha256, "newest_row_at": format_time(self.newest_row_at)}
        return json.dumps(document | {"checkpoint": self.checkpoint}, indent=1, ensure_ascii=False).encode() + b"\n"

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def head(self) -> TreeHead:
        """The head of the checkpoint, not verified. Raises ManifestInvalid."""
        try:
            return TreeHead.parse(split_note(self.checkpoint)[0])
        except NoteRefused as refused:
            raise ManifestInvalid(f"checkpoint: {refused}") from None

    @classmethod
    def parse(cls, content: bytes) -> ArchiveManifest:
        """Return the manifest in a file. Raises ManifestInvalid."""
        try:
            document = json.loads(content)
            if document["format"] != FORMAT:
                raise ManifestInvalid(f"expected the format {FORMAT}")
            counts = {name: document[name] for name in _COUNTS}
            if not all(type(value) is int and value >= 0 for value in counts.values()):
                raise ManifestInvalid("expected numbers of leaves and rows")
            made = cls(
                **counts,
                kept_sha256=str(document["kept_sha256"]),
                newest_row_at=stored_time(document["newest_row_at"]),
                checkpoint=str(document["checkpoint"]),
            )
        except ManifestInvalid:
            raise
        except (ValueError, KeyError, TypeError, RecursionError, UnicodeError) as error:
            raise ManifestInvalid(f"expected a manifest of the format {FORMAT}") from error
        if made.content != content:
            raise ManifestInvalid("expected the manifest as it was written")
        if not made.first < made.end <= made.head.size or made.first % WIDTH or made.end % WIDTH:
            raise ManifestInvalid("expected whole entry bundles, under the checkpoint")
        return made

    def differences(self, record: ArchiveRecord) -> list[str]:
        """Return how the manifest differs from what the log records of the archive."""
        found = [
            name for name in (*_COUNTS, "kept_sha256", "newest_row_at") if getattr(self, name) != getattr(record, name)
        ]
        if self.head.size != record.checkpoint_size:
            found.append("checkpoint_size")
        if self.sha256 != record.manifest_sha256:
            found.append("manifest_sha256")
        return found


class ArchiveCheck:
    """Takes the bundles of an archive in order. ``findings`` has a sentence for each fault."""

    def __init__(self, manifest: ArchiveManifest, tile: Callable[[TileKey], bytes]) -> None:
        self.findings: list[str] = []
        self._manifest = manifest
        self._tile = tile
        self._kept = KeptDigest()
        self._access = self._purges = 0
        self._newest: datetime | None = None

    def take(self, index: int, leaves: Sequence[bytes]) -> None:
        """Take the next bundle."""
        hashes = self._tile(TileKey(0, index))
        for place in range(WIDTH):
            leaf = leaves[place] if place < len(leaves) else b""
            found, stored = leaf_hash(leaf), hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]
            if found != stored:
                what = "the leaf does not match its hash in the tile" if leaf else "the leaf is missing"
                self.findings.append(f"leaf {index * WIDTH + place}: {what}")
                continue
            self._kept.take(leaf, found)
            self._count(leaf)
        if len(leaves) > WIDTH:
            self.findings.append(f"bundle {index} has more than {WIDTH} leaves")
        self._check_above(TileKey(0, index), hashes)

    def finish(self, keys: Collection[VerifierKey]) -> list[str]:
        """Check the tiles above, the root, the signature and the counts, and return all findings."""
        manifest, size = self._manifest, self._manifest.head.size
        for key in _above(manifest.first, manifest.end, size):
            self._check_above(key, self._tile(key))
        try:
            if root_of(size, self._tile) != manifest.head.root:
                self.findings.append("the tiles do not have the root of the checkpoint")
        except TileMissing as missing:
            self.findings.append(f"a tile is missing or too short: {missing}")
        try:
            open_checkpoint(manifest.checkpoint, keys)
        except NoteRefused as refused:
            self.findings.append(f"the checkpoint of {size} leaves: {refused}")
        counted: tuple[Any, ...] = (self._access, self._purges, self._kept.rows, self._kept.sha256, self._newest)
        said = (
            manifest.access_rows, manifest.purge_rows, manifest.kept_rows, manifest.kept_sha256, manifest.newest_row_at,
        )  # fmt: skip
        if counted != said and not self.findings:
            self.findings.append("the counts of the manifest differ from its leaves")
        return self.findings

    def _count(self, leaf: bytes) -> None:
        is_purge = leaf.startswith(b'{"purge":')
        self._purges += is_purge
        self._access += not is_purge
        if (at := time_of(leaf)) is not None and (self._newest is None or at > self._newest):
            self._newest = at

    def _check_above(self, key: TileKey, hashes: bytes) -> None:
        """Check a full tile against its hash in the tile above."""
        width = width_of(key, self._manifest.head.size)
        if len(hashes) < width * HASH_BYTES:
            self.findings.append(f"tile {key.index} of level {key.level} is missing, or too short")
        elif width == WIDTH:
            place = key.index % WIDTH
            above = self._tile(TileKey(key.level + 1, key.index // WIDTH))
            if node_within(hashes, HEIGHT, 0) != above[place * HASH_BYTES : (place + 1) * HASH_BYTES]:
                self.findings.append(f"tile {key.index} of level {key.level} does not match its hash in the tile above")


def time_of(leaf: bytes) -> datetime | None:
    """Return the time of a leaf's row; None for a leaf that has none."""
    found = _AT.search(leaf)
    try:
        return stored_time(found[1].decode()) if found else None
    except ValueError:
        return None


def _above(first: int, end: int, size: int) -> Iterator[TileKey]:
    """Yield the tiles above level 0 over the leaves of an archive."""
    level = 1
    while size >> (HEIGHT * level):
        span = WIDTH << (HEIGHT * level)
        for index in range(first // span, -(-end // span)):
            if width_of(TileKey(level, index), size):
                yield TileKey(level, index)
        level += 1
