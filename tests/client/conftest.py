"""One vault for all tests of the client. The storage makes no difference to a client, so it is SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.fixtures import MARKER, SIGNING_KEY, NewDatabase
from tests.support.server import VaultServer
from vsqlvault.client import Vault


@pytest.fixture(scope="session")
def new_database() -> NewDatabase:
    return lambda directory: f"sqlite:///{directory / 'vault.db'}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    """A vault that signs its log, with the purposes card, ach and cold (crypto-shred)."""
    directory = tmp_path_factory.mktemp("client")
    settings = '[audit]\nsigning_key_env = "SIGNING"\ncheckpoint_interval_seconds = 0.05\n'
    server = VaultServer(directory, settings=settings, environment={"SIGNING": SIGNING_KEY.reveal()})
    server.start()
    try:
        server.retention("card")
        server.retention("ach")
        server.retention("cold", method="crypto-shred")
        yield server
        assert server.stop() == 0
        server.assert_log_is_clean([MARKER])
    finally:
        server.kill()


@pytest.fixture
def connect(server: VaultServer) -> Iterator[Callable[..., Vault]]:
    """Make clients of apps; they are closed in the end."""
    vaults: list[Vault] = []

    def connect(who: str = "payments", **options: object) -> Vault:
        vaults.append(Vault(server.url, key=server.key(who), **options))  # type: ignore[arg-type]
        return vaults[-1]

    yield connect
    for vault in vaults:
        vault.close()


@pytest.fixture
def vault(connect: Callable[..., Vault]) -> Vault:
    return connect()


@pytest.fixture
def admin(connect: Callable[..., Vault]) -> Vault:
    return connect("vault-admin")
