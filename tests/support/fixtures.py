"""The served vault that the suites share; each suite's conftest takes it from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import Databases
from tests.support.server import ADMIN, VaultServer
from vsqlvault.proof.note import SigningKey

NewDatabase = Callable[[Path], str]
"""Takes the directory of a vault and returns the URL of an empty database for it."""

SIGNING_KEY = SigningKey("vault.example/audit", bytes([1]) * 32)
MARKER = "blob-marker-7f3e"
"""Stands in every value that tests store: it may never be in a log line."""


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Every test that asks for a vault, directly or not, runs once on each storage: this makes a place for one."""
    if request.param == "sqlite":
        yield lambda directory: f"sqlite:///{directory / 'vault.db'}"
        return
    postgres: Databases = request.getfixturevalue("postgres")
    made: list[str] = []

    def make(_: Path) -> str:
        made.append(postgres.create_database())
        return postgres.url(made[-1])

    yield make
    for name in made:
        postgres.drop_database(name)


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


__all__ = ["ADMIN", "MARKER", "NewDatabase", "another_vault", "new_database", "served"]
