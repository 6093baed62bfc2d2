"""Entries to sweep, a sweep, and a faulty purge method, for the tests of the sweeper."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.storage import Read
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.purge import PurgePlan, Remove
from vsqlvault.runtime import Tuning
from vsqlvault.testing import storing

DAY = timedelta(days=1)


class MisbehavingPlugin(PurgeMethod):
    """A purge method that fails on the configured ids."""

    name = "caprice"
    retires_id = False

    def __init__(self, *bad: str) -> None:
        self.bad = set(bad)
        self.asked: list[str] = []

    async def plan(self, request: Any) -> PurgePlan:
        self.asked.append(request.entry.external_id)
        if request.entry.external_id in self.bad:
            raise RuntimeError
        return PurgePlan(Remove(), request.reason)


ALONE = Tuning(sweep_alone_seconds=0.0)
"""The sweep treats itself as alone, although requests were served a moment ago."""


async def there(scene: Any, *ids: str, purpose: str = "card") -> list[str]:
    found = await scene.storage.inner.read([Read(EntryKey(purpose, name)) for name in ids])
    return [name for name, snapshot in zip(ids, found, strict=True) if snapshot.entry is not None]


async def fill(scene: Any, count: int, *, live: int = 0) -> list[str]:
    """Store entries that end tomorrow, and some that live on, past the wishes; return the ids of the first."""
    ending = [f"e{n}" for n in range(count)]
    at = scene.clock.at
    await scene.storage.inner.commit(
        [storing(name, name.encode(), created_at=at, expires_at=at + DAY) for name in ending]
        + [storing(f"live-{n}", created_at=at, expires_at=at + DAY * 90) for n in range(live)]
    )
    scene.clock.advance(days=1)
    return ending


async def sweep(scene: Any, **options: Any) -> Any:
    return await scene.vault.purge.sweeper.sweep(scene.admin, **options)
