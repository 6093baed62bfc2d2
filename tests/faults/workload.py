"""A vault that stores, replaces, purges and signs until it ends: ``python -m tests.faults.workload URL DIRECTORY SEED``.

It writes to ``acks`` what it is about to do and what was acknowledged, a JSON array a line:
``["key", text]``, ``["try", id, digest or null, request id]``, ``["ok", id, purge id or null]``, ``["not", id]`` for a refusal
that promises that nothing was done, and ``["signed", note]``. An id whose outcome is unknown is not used again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from vsqlvault.config import Settings, load_settings
from vsqlvault.errors import OutcomeUnknown, VaultError
from vsqlvault.interfaces.tree_storage import TreeGrowth
from vsqlvault.interfaces.writes import SaveRetentionPolicy
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import Tuning, open_vault
from vsqlvault.service.entries.requests import NO_PRECONDITIONS, StoreRequest
from vsqlvault.service.log.signing_keys import write_key
from vsqlvault.service.tasks import running
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_retention_policy, a_write

PURPOSE = "cuts"
WORKERS = 4
IDS = 4
KEY_FILE = "signing.key"


def settings_of(url: str, directory: Path) -> Settings:
    return load_settings(
        None,
        {
            "VSQL_VAULT_STORAGE__DATABASE_URL": url,
            "VSQL_VAULT_AUDIT__SIGNING_KEY_FILE": str(directory / KEY_FILE),
            "VSQL_VAULT_AUDIT__CHECKPOINT_INTERVAL_SECONDS": "0.02",
        },
    )


class Said:
    """The file of what was acknowledged."""

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / "acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __call__(self, *what: Any) -> None:
        os.write(self._file, json.dumps(what).encode() + b"\n")


async def work(vault: Vault, say: Said, names: list[str], chance: random.Random) -> None:
    """Store, replace and purge the ids of one worker, one after the other."""
    while names:
        name = chance.choice(names)
        call, key = a_call(), EntryKey(PURPOSE, name)
        value = b"" if chance.random() < 0.3 else chance.randbytes(chance.choice((20, 700, 9000)))
        say("try", name, hashlib.sha256(value).hexdigest() if value else None, call.request_id)
        try:
            if value:
                await vault.entries.store(call, key, _request(value))
                say("ok", name, None)
            else:
                purged = await vault.entries.purge(call, key, NO_PRECONDITIONS)
                say("ok", name, purged.purge_id)
        except OutcomeUnknown:
            names.remove(name)
        except VaultError:
            say("not", name)
        await asyncio.sleep(0)


def _request(value: bytes) -> StoreRequest:
    return StoreRequest(value, ValueEncoding.BASE64, None, None, "{}", None, "owner-only")


async def main(url: str, directory: Path, seed: int) -> None:
    say, chance = Said(directory), random.Random(seed)
    key_file = directory / KEY_FILE
    if not key_file.exists():
        key = SigningKey("vault.example/cuts", chance.randbytes(32))
        write_key(key_file, key)
        say("key", key.reveal())
    tuning = Tuning(sequencer_lease_seconds=0.3)
    async with open_vault(settings_of(url, directory), tuning=tuning) as vault, running(vault.log.sequencer.task):
        grow_tree = vault.storage.grow_tree

        async def growing(growth: TreeGrowth) -> bool:
            has_grown = await grow_tree(growth)
            if has_grown and growth.checkpoint is not None:
                say("signed", growth.checkpoint.note)
            return has_grown

        vault.storage.grow_tree = growing  # type: ignore[method-assign]
        with suppress(VaultError):
            await vault.queue.commit(a_write(SaveRetentionPolicy(a_retention_policy(PURPOSE))))
        names = [[f"{seed}-{worker}-{number}" for number in range(IDS)] for worker in range(WORKERS)]
        await asyncio.gather(*(work(vault, say, each, random.Random(seed * 100 + n)) for n, each in enumerate(names)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
