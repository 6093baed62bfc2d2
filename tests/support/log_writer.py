"""A process that writes rows, and sequences and signs them if it is its turn, until it is killed: ``python -m … URL``.

It says ``R`` and a request id for each row that is acknowledged, and ``C`` and a note, as JSON, for each checkpoint it has
signed. A process that sequences does not block the other one for long.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from contextlib import suppress

from vsqlvault.config import load_settings
from vsqlvault.errors import VaultError
from vsqlvault.interfaces.tree_storage import TreeGrowth
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.runtime import Tuning, open_vault
from vsqlvault.service.tasks import running
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_purge_record, an_access_record, an_entry

WRITERS = 4
SHARDS = int(os.environ.get("VSQLVAULT_TEST_SHARDS", "4"))
"""Of a database of PostgreSQL."""


def say(kind: str, what: str) -> None:
    sys.stdout.write(f"{kind} {what}\n")
    sys.stdout.flush()


def tell(checkpoint: Checkpoint) -> None:
    say("C", json.dumps(checkpoint.note))


async def write(vault: Vault) -> None:
    while True:
        name = secrets.token_hex(8)  # so that rows are in every shard
        record = an_access_record(request_id=secrets.token_hex(16), external_id=name)
        purges = (a_purge_record(an_entry(name)),) if secrets.randbelow(5) == 0 else ()
        with suppress(VaultError):
            await vault.queue.commit(Write((record,), purges=purges))
            say("R", record.request_id)
        await asyncio.sleep(0.002)


async def main(url: str) -> None:
    settings = load_settings(
        None,
        {
            "VSQL_VAULT_STORAGE__DATABASE_URL": url,
            "VSQL_VAULT_STORAGE__SHARDS": str(SHARDS),
            "VSQL_VAULT_AUDIT__SIGNING_KEY_ENV": "SIGNING_KEY",
            "VSQL_VAULT_AUDIT__CHECKPOINT_INTERVAL_SECONDS": "0.02",
        },
    )
    tuning = Tuning(sequencer_lease_seconds=0.3)
    async with open_vault(settings, tuning=tuning) as vault, running(vault.log.sequencer.task):
        grow_tree = vault.storage.grow_tree

        async def growing(growth: TreeGrowth) -> bool:
            has_grown = await grow_tree(growth)
            if has_grown and growth.checkpoint is not None:
                tell(growth.checkpoint)
            return has_grown

        vault.storage.grow_tree = growing  # type: ignore[method-assign]
        await asyncio.gather(*(write(vault) for _ in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
