"""The content of an evidence bundle, member by member, with one piece in memory at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from datetime import datetime
from typing import Any

from vsqlvault import __version__
from vsqlvault.interfaces.storage import PolicySnapshot, Storage, VersionQuery
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.policy import AccessPolicy
from vsqlvault.model.transparency import Checkpoint, TileKey
from vsqlvault.proof.access_review import shown_access_review
from vsqlvault.proof.attestation import shown_attestation
from vsqlvault.proof.evidence import FORMAT, MANIFEST, NOTE, Manifest, write_manifest
from vsqlvault.proof.log_part import LogPart
from vsqlvault.proof.note import Signer
from vsqlvault.proof.receipt import write_receipt
from vsqlvault.proof.statement import sign_statement
from vsqlvault.proof.tiles import HEIGHT, MAX_LEVEL, WIDTH, format_path, width_of, write_bundle
from vsqlvault.proof.tree import HASH_BYTES, inclusion_proof
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.rule_documents import StoredRule, version_document
from vsqlvault.service.compliance.archives import ArchiveWriter
from vsqlvault.service.compliance.purge_sample import Reach, draw_purges
from vsqlvault.service.log.reader import NOT_REACHED
from vsqlvault.service.log.stored_tree import from_tiles
from vsqlvault.service.log.verification import Progress, StorageSource

PAGE = 200
RECEIPTS = 25
MAX_CHECKPOINTS = 256
LARGE_BYTES = 64 * 1024
"""Larger pieces are compressed in a thread, so that the event loop keeps answering requests."""

README = """Evidence of a vault (vsqlvault), as of one instant. Verify it without the vault and without a network:

    vsql-vault verify FILE.zip --vkey KEY

Get KEY from someone other than the sender of this file; the key in log/vkey proves nothing.

    report.html, report.json          the compliance report: start here
    policies/                         every version of every policy and legal hold, one JSON line each
    attestations.ndjson               the attestations of retention, each as it was signed
    access-reviews.ndjson             the reviews of access by people, each as it was signed
    receipts/                         a sample of purges, each with its proof
    log/                              the rows of both logs of the period, and the proof that they belong to the signed log
    configuration.json, plugins.json  the settings without secrets, and the loaded plugins
    manifest.json, manifest.note      every member with its SHA-256, and the signature over that

docs/evidence.md of vsqlvault describes each.
"""


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """The content of a bundle, fixed before its first byte."""

    report: Mapping[str, Any]
    as_of: datetime
    since: datetime
    until: datetime
    policies: PolicySnapshot
    checkpoint: Checkpoint
    part: LogPart


class EvidenceBundle:
    """Writes one bundle. It omits anything that depends on the time of writing: the same plan gives the same bytes."""

    def __init__(
        self,
        plan: BundlePlan,
        *,
        storage: Storage,
        signer: Signer,
        configuration: Mapping[str, Any],
        plugins: Sequence[PluginOrigin],
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._storage = storage
        self._signer = signer
        self._configuration = configuration
        self._plugins = plugins
        self._progress = progress
        self._writer = ArchiveWriter()

    async def pieces(self, page: bytes) -> AsyncGenerator[bytes]:
        """Yield the bytes of the file; ``page`` is the report as HTML. Raises Unavailable, TreeDamaged part-way."""
        await self._put("README.txt", README.encode())
        await self._put("report.json", report_file(self._plan.report))
        await self._put("report.html", page)
        await self._put("configuration.json", _json(self._configuration))
        await self._put(
            "plugins.json", _json([asdict(each) for each in sorted(self._plugins, key=lambda one: one.name)])
        )
        yield self._writer.take()
        for put in self._steps:
            async with aclosing(put()) as steps:
                async for _ in steps:
                    if piece := self._writer.take():
                        yield piece
        manifest = self._manifest()
        await self._put(MANIFEST, manifest)
        await self._put(NOTE, sign_statement(FORMAT, manifest, self._signer).encode())
        yield self._writer.close()

    @property
    def _steps(self) -> Sequence[Callable[[], AsyncGenerator[None]]]:
        signed = (self._put_attestations, self._put_access_reviews)
        return (self._put_rules, *signed, self._put_receipts, self._put_checkpoints, self._put_log)

    async def _put(self, name: str, data: bytes) -> None:
        if len(data) > LARGE_BYTES:
            await asyncio.to_thread(self._writer.put, name, data)
        else:
            self._writer.put(name, data)

    async def _put_rules(self) -> AsyncGenerator[None]:
        policies, storage = self._plan.policies, self._storage
        kinds: tuple[tuple[str, Sequence[str], Callable[[VersionQuery], Awaitable[Sequence[StoredRule]]]], ...] = (
            ("access-policies", sorted({*policies.access, *policies.access_versions}), storage.access_policy_versions),
            ("retention-policies", sorted(policies.retention), storage.retention_policy_versions),
            ("legal-holds", sorted(policies.holds), storage.legal_hold_versions),
        )
        for kind, names, versions in kinds:
            with self._writer.open(f"policies/{kind}.ndjson") as member:
                for name in names:
                    built_in = policies.access.get(name) if kind == "access-policies" else None
                    async for rule in self._versions(name, built_in, versions):
                        member.write(_line(version_document(rule)))
                    yield
            yield

    async def _versions(
        self,
        name: str,
        policy: AccessPolicy | None,
        versions: Callable[[VersionQuery], Awaitable[Sequence[StoredRule]]],
    ) -> AsyncIterator[StoredRule]:
        """Yield every version of a policy or hold up to the bundle's instant, newest first."""
        if policy is not None and policy.built_in:
            yield policy
            return
        before: int | None = None
        while found := await versions(VersionQuery(name=name, limit=PAGE, before=before)):
            for rule in found:
                if rule.created_at is None or rule.created_at <= self._plan.as_of:
                    yield rule
            before = found[-1].version

    async def _put_attestations(self) -> AsyncGenerator[None]:
        with self._writer.open("attestations.ndjson") as member:
            before: int | None = None
            while found := await self._storage.attestations(before, PAGE):
                for made in found:
                    if made.at <= self._plan.as_of:
                        member.write(_line(shown_attestation(made.document, made.note)))
                before = found[-1].number
                yield
        yield

    async def _put_access_reviews(self) -> AsyncGenerator[None]:
        with self._writer.open("access-reviews.ndjson") as member:
            before: int | None = None
            while found := await self._storage.access_reviews(before, PAGE):
                for made in found:
                    if made.at <= self._plan.as_of:
                        member.write(_line(shown_access_review(made.document, made.note)))
                before = found[-1].number
                yield
        yield

    async def _put_receipts(self) -> AsyncGenerator[None]:
        plan = self._plan
        reach = Reach(plan.since, plan.until, plan.checkpoint.size, plan.checkpoint.root)
        not_reached = self._storage.describe().get("purge_does_not_reach", NOT_REACHED)
        for drawn in await draw_purges(self._storage, reach, RECEIPTS):
            index = drawn.index

            def path(node: Any, index: int = index) -> list[bytes]:
                return inclusion_proof(index, plan.checkpoint.size, node)

            receipt = write_receipt(
                drawn.record,
                index,
                await from_tiles(self._storage, path),
                plan.checkpoint.note,
                self._signer.verifier,
                not_reached,
            )
            await self._put(f"receipts/{drawn.record.purge_id}.json", _json(receipt))
            yield

    async def _put_checkpoints(self) -> AsyncGenerator[None]:
        plan = self._plan
        await self._put("log/checkpoint", plan.checkpoint.note.encode())
        await self._put("log/vkey", f"{self._signer.verifier}\n".encode())
        step = max(1, (plan.part.size - plan.part.first) // MAX_CHECKPOINTS)
        after = plan.part.first
        while found := await self._storage.checkpoints(after, 1):
            if found[0].size >= plan.checkpoint.size:
                break
            await self._put(f"log/checkpoints/{found[0].size:020}", found[0].note.encode())
            after = max(found[0].size, after + step)
            yield
        yield

    async def _put_log(self) -> AsyncGenerator[None]:
        part, source = self._plan.part, StorageSource(self._storage)
        bundles = part.bundles()
        for index in bundles:
            width = width_of(TileKey(0, index), part.size)
            leaves = await source.bundle(index, width)
            await self._put(f"log/tile/entries/{format_path(index, width)}", write_bundle(leaves))
            self._progress((index - bundles.start + 1) * WIDTH, len(bundles) * WIDTH)
            yield
        for key in part.tiles():
            width = width_of(key, part.size)
            hashes = (await self._storage.tiles([key])).get(key, b"")[: width * HASH_BYTES]
            await self._put(f"log/tile/{key.level}/{format_path(key.index, width)}", hashes)
            yield

    def _manifest(self) -> bytes:
        plan = self._plan
        members = {each.name: (each.size, each.sha256) for each in self._writer.members}
        part = plan.part
        period = plan.report["period"]
        manifest = Manifest(
            str(plan.report["as_of"]),
            str(period["since"]),
            str(period["until"]),
            plan.checkpoint.origin,
            part.size,
            part.first,
            part.end,
            members,
        )
        return write_manifest(manifest, f"vsqlvault {__version__}")


def members_of(part: LogPart) -> int:
    """Return the number of members that the log part takes."""
    above = sum(-(-(part.size >> (HEIGHT * level)) // WIDTH) for level in range(1, MAX_LEVEL + 1))
    return 2 * len(part.bundles()) + 1 + above


def report_file(report: Mapping[str, Any]) -> bytes:
    """Return the bytes of ``report.json``."""
    return _json(report)


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
