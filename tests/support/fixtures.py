"""The served vault that the suites share; each suite's conftest takes it from here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import WAIT_FOR_RECOVERY, Databases
from tests.support.server import ADMIN, VaultServer, eventually
from vsqlvault.proof.note import SigningKey
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage

NewDatabase = Callable[[Path], str]
"""Takes the directory of a vault and returns the URL of a database for it, without an entry or a row."""

SIGNING_KEY = SigningKey("vault.example/audit", bytes([1]) * 32)
MARKER = "blob-marker-7f3e"
"""Stands in every value that tests store: it may never be in a log line."""


@pytest.fixture(scope="session")
def migrated(postgres: Databases) -> Iterator[str]:
    """A database with the tables in it and nothing else. A copy of it takes a third of the time that making them does."""
    name = postgres.create_database()

    async def make() -> None:
        storage = await PostgresStorage.open(postgres.url(name))
        await storage.migrate()
        await storage.close()

    asyncio.run(make())
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def storage_kind(request: pytest.FixtureRequest) -> str:
    """Every test that asks for a vault, directly or not, runs once on each storage."""
    return str(request.param)


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest, storage_kind: str) -> Iterator[NewDatabase]:
    """Return what makes a place for a vault on this storage."""
    if storage_kind == "sqlite":
        yield lambda directory: f"sqlite:///{directory / 'vault.db'}"
        return
    postgres: Databases = request.getfixturevalue("postgres")
    migrated: str = request.getfixturevalue("migrated")
    made: list[str] = []

    def make(_: Path) -> str:
        made.append(postgres.create_database(migrated))
        return postgres.url(made[-1])

    yield make
    for name in made:
        postgres.drop_database(name)


def is_ready(server: VaultServer) -> bool:
    return server.call(None, "GET", "/health/ready").status == 200


def shared_vaults(name: str, settings: str = "") -> tuple[Any, Any, Any]:
    """Return the fixtures ``sqlite_vault``, ``postgresql_vault`` and ``vault`` of a suite.

    ``vault`` is one of the other two. Each runs from the first test that asks for it to the end of the session: a start
    for each file of tests takes half a second of processor time.
    """

    @pytest.fixture(scope="session")
    def sqlite_vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
        directory = tmp_path_factory.mktemp(name)
        yield from served(directory, f"sqlite:///{directory / 'vault.db'}", settings)

    @pytest.fixture(scope="session")
    def postgresql_vault(
        tmp_path_factory: pytest.TempPathFactory, postgres: Databases, migrated: str
    ) -> Iterator[VaultServer]:
        database = postgres.create_database(migrated)
        for server in served(tmp_path_factory.mktemp(name), postgres.url(database), settings):
            wait = partial(eventually, partial(is_ready, server), 60)
            WAIT_FOR_RECOVERY.append(wait)
            yield server
            WAIT_FOR_RECOVERY.remove(wait)
        postgres.drop_database(database)

    @pytest.fixture(scope="session")
    def vault(request: pytest.FixtureRequest, storage_kind: str) -> VaultServer:
        found: VaultServer = request.getfixturevalue(f"{storage_kind}_vault")
        return found

    return sqlite_vault, postgresql_vault, vault


def served(directory: Path, database_url: str, settings: str = "") -> Iterator[VaultServer]:
    """Serve a vault with the purposes card, ach, cold (crypto-shred) and aged (retention-expire); end it cleanly."""
    server = VaultServer(directory, settings=settings, database_url=database_url)
    server.start()
    try:
        server.retention("card")
        server.retention("ach")
        server.retention("cold", method="crypto-shred")
        server.retention("aged", method="retention-expire")
        yield server
        assert server.stop() == 0
        server.assert_log_is_clean([MARKER])
    finally:
        server.kill()


@pytest.fixture
def another_vault(tmp_path: Path, new_database: NewDatabase) -> Iterator[Callable[..., VaultServer]]:
    """Start further vaults: for tests that kill, slow down or reconfigure them, or that count everything there is."""
    servers: list[VaultServer] = []

    def start(**options: Any) -> VaultServer:
        directory = tmp_path / str(len(servers))
        directory.mkdir()
        server = VaultServer(directory, database_url=new_database(directory), **options)
        servers.append(server)
        server.start()
        for purpose in ("card", "ach"):
            server.retention(purpose)
        return server

    yield start
    for server in servers:
        server.kill()


__all__ = [
    "ADMIN", "MARKER", "NewDatabase", "another_vault", "migrated", "new_database", "served", "shared_vaults", "storage_kind",
]  # fmt: skip
