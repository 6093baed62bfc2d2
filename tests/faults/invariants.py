"""The invariants that a storage must keep through any fault, checked against what was acknowledged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.workload import KEY_FILE, PURPOSE, settings_of
from vsqlvault.interfaces.storage import LogQuery, Read, Storage
from vsqlvault.model.entry import EntryKey
from vsqlvault.plugin_loader import Plugins
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import open_storage
from vsqlvault.service.log.verification import StorageSource, verify_log

MAX_ROWS = 1_000_000


@dataclass(slots=True)
class History:
    """One id: the digest after the last acknowledged change, and the change whose outcome nobody was given."""

    digest: str | None = None
    pending: tuple[str | None, str] | None = None


@dataclass(slots=True)
class Acknowledged:
    """Everything that left the process."""

    key: str | None = None
    notes: list[str] = field(default_factory=list)
    ids: dict[str, History] = field(default_factory=dict)
    request_ids: set[str] = field(default_factory=set)
    purge_ids: set[str] = field(default_factory=set)

    @classmethod
    def parse(cls, said: bytes) -> Acknowledged:
        found = cls()
        for line in said.split(b"\n")[:-1]:
            kind, *what = json.loads(line)
            found._add(kind, what)
        return found

    def _add(self, kind: str, what: list[Any]) -> None:
        if kind == "key":
            self.key = what[0]
        elif kind == "signed":
            self.notes.append(what[0])
        elif kind == "try":
            self.ids.setdefault(what[0], History()).pending = (what[1], what[2])
        elif kind == "not":
            self.ids[what[0]].pending = None
        else:
            history = self.ids[what[0]]
            assert history.pending is not None
            history.digest, request_id = history.pending
            history.pending = None
            self.request_ids.add(request_id)
            if what[1]:
                self.purge_ids.add(what[1])


async def violations(url: str, directory: Path, said: Acknowledged) -> list[str]:
    """Return what the storage has lost or holds by halves; empty where every invariant is kept."""
    found = _of_files(url, directory, said)
    if said.key is None or found:
        return found
    storage = await open_storage(Plugins(settings_of(url, directory)))
    try:
        await storage.migrate()
        found += await _of_logs(storage, said)
        found += await _of_entries(storage, said)
        if said.notes:
            verdict = await verify_log(StorageSource(storage), [SigningKey.parse(said.key).verifier], said.notes)
            found += [f"log: {finding}" for finding in verdict.findings[:3]]
    finally:
        await storage.close()
    return found


def _of_files(url: str, directory: Path, said: Acknowledged) -> list[str]:
    key = directory / KEY_FILE
    if said.key is not None and (not key.exists() or key.read_text("utf-8").strip() != said.key.strip()):
        return ["the signing key is lost"]
    database = directory / "vault.db"
    if url.startswith("sqlite") and database.exists():
        with closing(sqlite3.connect(database)) as connection:
            checked: Sequence[Any] = connection.execute("PRAGMA integrity_check").fetchall()
        if checked != [("ok",)]:
            return [f"the database is damaged: {checked[0][0]}"]
    return []


async def _of_logs(storage: Storage, said: Acknowledged) -> list[str]:
    rows = {row.record.request_id for row in await storage.access_log(LogQuery(limit=MAX_ROWS))}
    purges = {row.record.purge_id for row in await storage.purge_log(LogQuery(limit=MAX_ROWS))}
    found = [f"audit row {each} is lost" for each in said.request_ids - rows]
    return found + [f"purge row {each} is lost" for each in said.purge_ids - purges]


async def _of_entries(storage: Storage, said: Acknowledged) -> list[str]:
    rows = {row.record.request_id for row in await storage.access_log(LogQuery(limit=MAX_ROWS))}
    snapshots = await storage.read([Read(EntryKey(PURPOSE, name), with_value=True) for name in said.ids])
    found = []
    for (name, history), snapshot in zip(said.ids.items(), snapshots, strict=True):
        digest = snapshot.entry.value_sha256 if snapshot.entry and not snapshot.entry.purged_at else None
        wanted = history.digest
        if history.pending is not None and history.pending[1] in rows:
            wanted = history.pending[0]
        if digest != wanted:
            found.append(f"entry {name} is {digest}, but {wanted} by what was acknowledged and audited")
    return found
