"""Offline verification of an evidence bundle: its signature, its members and its part of the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.access_review import check_access_review
from vsqlvault.proof.attestation import AttestationInvalid, AttestationUnverified, check_attestation
from vsqlvault.proof.bundle_replay import ATTESTATIONS, MEMBERS, REVIEWS, SIGNED, BundleReplay
from vsqlvault.proof.checkpoint import open_checkpoint
from vsqlvault.proof.evidence import MANIFEST, NOTE, Manifest, ManifestInvalid, open_manifest
from vsqlvault.proof.log_check import SignedHead
from vsqlvault.proof.log_part import LogPart, check_part, root_of
from vsqlvault.proof.note import NoteRefused, VerifierKey, split_note
from vsqlvault.proof.receipt import ReceiptInvalid, check_receipt
from vsqlvault.proof.restores import ConfirmedRestore, restore_in
from vsqlvault.proof.tiles import MAX_ENTRY_BYTES, WIDTH, TileMissing, format_path, read_bundle, width_of
from vsqlvault.proof.tree import HASH_BYTES
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.compliance.archives import MAX_DIRECTORY_BYTES, Archive, ArchiveUnreadable, open_archive
from vsqlvault.service.log.verification import Progress

MAX_MANIFEST_BYTES = 64 * 1024 * 1024
MAX_NOTE_BYTES = 64 * 1024
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
MAX_BUNDLE_BYTES = WIDTH * (2 + MAX_ENTRY_BYTES)
MAX_FINDINGS = 1_000
TILES_KEPT = 64


@dataclass(slots=True)
class EvidenceCheckResult:
    """The result of a check. ``findings`` is empty if the bundle verifies; ``remarks`` are not faults."""

    manifest: Manifest | None = None
    findings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    members: int = 0
    checkpoints: int = 0
    receipts: int = 0
    attestations: int = 0
    access_reviews: int = 0
    rows: int = 0
    """The versions, attestations and access reviews that were compared with their leaves."""

    def find(self, what: str) -> None:
        """Add a finding, up to the limit."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(what)


def is_evidence(path: Path) -> bool:
    """Whether a file is a ZIP file that declares itself an evidence bundle."""
    try:
        with open_archive(path) as archive:
            return NOTE in archive.names
    except ArchiveUnreadable:
        return False


def verify_evidence(
    path: Path,
    keys: Collection[VerifierKey],
    kept: Collection[str] = (),
    progress: Progress = lambda _done, _of: None,
    *,
    max_manifest_bytes: int = MAX_MANIFEST_BYTES,
    max_directory_bytes: int = MAX_DIRECTORY_BYTES,
) -> EvidenceCheckResult:
    """Verify a bundle against the trusted ``keys``, and its log against the checkpoints that the caller kept.

    Nothing is unpacked to disk. Until the signature of the manifest verifies, only the manifest is unpacked.

    Raises:
        ArchiveUnreadable: not a ZIP file. NoteRefused: a kept checkpoint is malformed.
    """
    heads = [SignedHead.parse(note, is_kept=True) for note in kept]
    with open_archive(path, max_directory_bytes) as archive:
        check = _Check(archive, set(keys), progress, max_manifest_bytes)
        check.run(heads)
        return check.verdict


class _Check:
    def __init__(self, archive: Archive, keys: set[VerifierKey], progress: Progress, max_manifest_bytes: int) -> None:
        self._max_manifest_bytes = max_manifest_bytes
        self._archive = archive
        self._keys = keys
        self._progress = progress
        self._restores: dict[int, ConfirmedRestore] = {}
        self._replay: BundleReplay | None = None
        self._tile = lru_cache(TILES_KEPT)(self._read_tile)
        self.verdict = EvidenceCheckResult()

    def run(self, kept: Collection[SignedHead]) -> None:
        verdict = self.verdict
        try:
            data = self._archive.read(MANIFEST, self._max_manifest_bytes)
            manifest = open_manifest(data, self._archive.read(NOTE, MAX_NOTE_BYTES), self._keys)
        except (ArchiveUnreadable, ManifestInvalid) as error:
            verdict.find(str(error))
            return
        verdict.manifest = manifest
        self._check_members(manifest)
        if verdict.findings:
            verdict.remarks.append(
                "the log, the receipts and the attestations were not verified, because members are not as the manifest says"
            )
            return
        part = LogPart(manifest.size, manifest.first, manifest.end)
        head = self._check_head(manifest)
        self._replay = self._new_replay(manifest, part)
        for finding in check_part(part, self._tile, self._bundle):
            verdict.find(f"log, index {finding.index}: {finding.what}")
        if head is not None:
            self._check_root(head)
        verdict.remarks += [str(restore) for _, restore in sorted(self._restores.items())]
        self._check_checkpoints(manifest, part, kept)
        self._check_receipts(manifest)
        self.verdict.attestations = self._check_signed(ATTESTATIONS, check_attestation)
        self.verdict.access_reviews = self._check_signed(REVIEWS, check_access_review)
        if not verdict.findings:
            self._check_state()

    def _check_members(self, manifest: Manifest) -> None:
        listed, found = set(manifest.members), self._archive.names - {MANIFEST, NOTE}
        for name in sorted(self._archive.twice):
            self.verdict.find(f"{name}: listed more than once in the file")
        for name in sorted(found - listed):
            self.verdict.find(f"{name}: missing from the manifest")
        for name in sorted(listed - found):
            self.verdict.find(f"{name}: listed in the manifest, missing from the file")
        for place, name in enumerate(sorted(listed & found)):
            size, digest = manifest.members[name]
            try:
                is_as_signed = self._digest(name, size) == digest
            except ArchiveUnreadable as error:
                self.verdict.find(str(error))
                continue
            if not is_as_signed:
                self.verdict.find(f"{name}: differs from the signed content")
            self.verdict.members += 1
            self._progress(place + 1, len(listed))

    def _digest(self, name: str, size: int) -> str:
        digest = sha256()
        for piece in self._archive.pieces(name, size):
            digest.update(piece)
        return digest.hexdigest()

    def _check_head(self, manifest: Manifest) -> SignedHead | None:
        signed = self._checkpoint("log/checkpoint")
        if signed is not None and (signed.head.origin, signed.head.size) != (manifest.origin, manifest.size):
            self.verdict.find(
                f"log/checkpoint: expected {manifest.size} leaves of {manifest.origin}, found another log"
            )
            return None
        return signed

    def _checkpoint(self, name: str) -> SignedHead | None:
        """Return a checkpoint of the file. If an unknown key signed it, the signature of the manifest covers it."""
        try:
            note = self._archive.read(name, MAX_NOTE_BYTES).decode()
            signed = SignedHead.parse(note)
            known = {(key.name, key.key_id) for key in self._keys}
            if any((by, key_id) in known for by, key_id, _ in split_note(note)[1]):
                open_checkpoint(note, self._keys)
            else:
                self.verdict.remarks.append(f"{name}: signed by a key that was not given")
        except (ArchiveUnreadable, NoteRefused, UnicodeDecodeError) as error:
            self.verdict.find(f"{name}: {error}")
            return None
        return signed

    def _check_root(self, signed: SignedHead) -> None:
        try:
            if root_of(signed.head.size, self._tile) != signed.head.root and not self._is_given_up(signed):
                self.verdict.find(f"log: {signed} does not match these leaves")
                return
        except TileMissing as missing:
            self.verdict.find(f"log: {signed} cannot be compared: {missing}")
            return
        self.verdict.checkpoints += 1

    def _is_given_up(self, signed: SignedHead) -> bool:
        """Whether a confirmed restore in this part of the log, which verifies, has this kept checkpoint."""
        if not signed.is_kept or self.verdict.findings:
            return False
        try:
            open_checkpoint(signed.note, self._keys)
        except NoteRefused:
            return False
        return any(signed.note in restore.notes for restore in self._restores.values())

    def _check_checkpoints(self, manifest: Manifest, part: LogPart, kept: Collection[SignedHead]) -> None:
        """Compare the other checkpoints in the file, and those the caller kept, with the leaves."""
        for name in sorted(name for name in manifest.members if name.startswith("log/checkpoints/")):
            if signed := self._checkpoint(name):
                self._check_root(signed)
        for signed in kept:
            if not _can_compare(signed.head.size, part):
                self.verdict.remarks.append(f"{signed} was not verified: its leaves are outside the period")
                continue
            self._check_root(signed)

    def _check_receipts(self, manifest: Manifest) -> None:
        for name in sorted(name for name in manifest.members if name.startswith("receipts/")):
            try:
                shown = check_receipt(_document(self._archive.read(name, MAX_DOCUMENT_BYTES)), self._keys)
            except (ArchiveUnreadable, ReceiptInvalid, ValueError) as error:
                self.verdict.find(f"{name}: {error}")
                continue
            if name != f"receipts/{shown.row.get('id')}.json":
                self.verdict.find(f"{name}: the receipt of another purge")
            self.verdict.receipts += 1

    def _check_signed(self, name: str, check: Callable[[Any, Collection[VerifierKey]], object]) -> int:
        """Check the signed documents of a member, and return how many verify."""
        good = 0
        for number, line in enumerate(self._lines(name), start=1):
            try:
                shown = _document(line)
            except ValueError as error:
                self.verdict.find(f"{name}, line {number}: {error}")
                continue
            try:
                check(shown, self._keys)
            except AttestationUnverified as unverified:
                self.verdict.remarks.append(
                    f"{name}, line {number}: covered by the manifest's signature only, because {unverified}"
                )
                continue
            except AttestationInvalid as invalid:
                self.verdict.find(f"{name}, line {number}: {invalid}")
                continue
            good += 1
        return good

    def _new_replay(self, manifest: Manifest, part: LogPart) -> BundleReplay | None:
        try:
            return BundleReplay(
                as_of=manifest.as_of, since=manifest.since, is_from_first_leaf=part.bundles().start == 0
            )
        except ValueError:
            self.verdict.find("manifest.json: as_of or since is not a time")
            return None

    def _check_state(self) -> None:
        """Compare the policies, holds, attestations and access reviews with the leaves."""
        replay = self._replay
        if replay is None:
            return
        for name in (*MEMBERS, *SIGNED):
            for number, line in enumerate(self._lines(name), start=1):
                try:
                    document = _document(line)
                    replay.signed(name, document) if name in SIGNED else replay.version(name, document)
                except (KeyError, TypeError, ValueError, AttributeError):
                    self.verdict.find(f"{name}, line {number}: malformed")
        replay.finish()
        for finding in replay.findings:
            self.verdict.find(finding)
        self.verdict.rows = replay.compared

    def _lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a member, one in memory at a time."""
        rest = b""
        try:
            for piece in self._archive.pieces(name, self._size_of(name)):
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
                if len(rest) > MAX_DOCUMENT_BYTES:
                    self.verdict.find(f"{name}: a line exceeds the maximum length")
                    return
        except ArchiveUnreadable as error:
            self.verdict.find(str(error))
            return
        if rest:
            yield rest

    def _size_of(self, name: str) -> int:
        manifest = self.verdict.manifest
        return manifest.members[name][0] if manifest and name in manifest.members else 0

    def _read_tile(self, key: TileKey) -> bytes:
        manifest = self.verdict.manifest
        width = width_of(key, manifest.size) if manifest else 0
        if not width:
            return b""
        try:
            return self._archive.read(f"log/tile/{key.level}/{format_path(key.index, width)}", WIDTH * HASH_BYTES)
        except ArchiveUnreadable:
            return b""

    def _bundle(self, index: int, width: int) -> list[bytes]:
        try:
            leaves = read_bundle(self._archive.read(f"log/tile/entries/{format_path(index, width)}", MAX_BUNDLE_BYTES))
        except (ArchiveUnreadable, ValueError):
            return []
        for place, leaf in enumerate(leaves, start=index * WIDTH):
            if restore := restore_in(place, leaf):
                self._restores[place] = restore
            if self._replay is not None:
                self._replay.take(place, leaf)
        return leaves


def _can_compare(size: int, part: LogPart) -> bool:
    """Whether the file has the leaves at the edge of a tree of ``size``, or needs none of them."""
    return size == part.size or (size <= part.size and (size % WIDTH == 0 or size // WIDTH in part.bundles()))


def _document(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("expected JSON") from None
