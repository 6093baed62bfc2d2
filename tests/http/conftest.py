"""One vault, small limits, for all tests of the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fixtures import NewDatabase, another_vault, new_database, served
from tests.support.server import VaultServer

SETTINGS = """
[server]
max_value_bytes = 65536
max_body_bytes = 131072
body_timeout_seconds = 1
"""

__all__ = ["another_vault", "new_database"]


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[VaultServer]:
    directory = tmp_path_factory.mktemp("http")
    yield from served(directory, new_database(directory), SETTINGS)
