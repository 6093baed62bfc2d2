"""The served vault that the suites share; each suite's conftest takes it from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.server import ADMIN, VaultServer

MARKER = "blob-marker-7f3e"
"""Stands in every value that tests store: it may never be in a log line."""


def served(directory: Path, settings: str = "") -> Iterator[VaultServer]:
    """Serve a vault with the purposes card, ach, cold (crypto-shred) and aged (retention-expire); end it cleanly."""
    server = VaultServer(directory, settings=settings)
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
def another_vault(tmp_path: Path) -> Iterator[Callable[..., VaultServer]]:
    """Start further vaults: for tests that kill, slow down or reconfigure them, or that count everything there is."""
    servers: list[VaultServer] = []

    def start(**options: str) -> VaultServer:
        directory = tmp_path / str(len(servers))
        directory.mkdir()
        server = VaultServer(directory, **options)
        servers.append(server)
        server.start()
        for purpose in ("card", "ach"):
            server.retention(purpose)
        return server

    yield start
    for server in servers:
        server.kill()


__all__ = ["ADMIN", "MARKER", "another_vault", "served"]
