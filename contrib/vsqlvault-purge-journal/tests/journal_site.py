"""A vault with the plugin, on SQLite in one directory."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from vsqlvault.config import Settings, load_settings
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.runtime import open_vault
from vsqlvault.service.entries.requests import StoreRequest
from vsqlvault.service.vault import Vault

# What a vault on SQLite needs, and the plugin under test: whatever else is installed stays out.
ALLOWED = ["access-rules", "auth-api-key", "purge-methods", "storage-sqlite", "purge-journal"]
ADMIN = Call(Principal("till", "api-key", "key-1", roles=frozenset({Role.ADMIN})), "request-1", "127.0.0.1")


class Site:
    """One directory with the settings, the database and the journal of a vault."""

    def __init__(self, directory: Path) -> None:
        self.journal = directory / "purges.ndjson"
        self._directory = directory

    def settings(self, table: str | None = None) -> Settings:
        """Return settings as an operator writes them; ``table`` is TOML that replaces the plugin's table."""
        file = self._directory / "vault.toml"
        table = f"[plugins.purge-journal]\npath = {json.dumps(str(self.journal))}" if table is None else table
        url = f"sqlite:///{self._directory / 'vault.db'}"
        file.write_text(f'[storage]\ndatabase_url = "{url}"\n[plugins]\nallow = {json.dumps(ALLOWED)}\n{table}\n')
        return load_settings(file, {})

    def lines(self) -> list[dict[str, Any]]:
        """Return what the journal says."""
        return [json.loads(line) for line in self.journal.read_text().splitlines()]


def wanted(value: bytes = b"ciphertext", expires_at: datetime | None = None) -> StoreRequest:
    return StoreRequest(value, ValueEncoding.UTF_8, None, "key-ref-1", "{}", expires_at, "owner-only")


async def deliver(vault: Vault) -> None:
    """Deliver every row that is committed."""
    await vault.log.sequencer.sequence()
    await vault.log.observers.deliver()


@asynccontextmanager
async def a_vault(settings: Settings) -> AsyncIterator[Vault]:
    """Run a vault that delivers what is left at its end, as a server does."""
    async with open_vault(settings) as vault:
        yield vault
        await deliver(vault)


async def retain(vault: Vault, purpose: str, method: str) -> None:
    await vault.rules.policies.save_retention_policy(ADMIN, RetentionPolicy(purpose, 0, 365, 90, method))


async def fill(vault: Vault, *ids: str, purpose: str = "card", expires_at: datetime | None = None) -> None:
    stores = (vault.entries.store(ADMIN, EntryKey(purpose, each), wanted(expires_at=expires_at)) for each in ids)
    await asyncio.gather(*stores)


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Let the kernel refuse every write past ``size`` bytes of any file, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
