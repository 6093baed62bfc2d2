"""One vault as it comes, for all acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fixtures import NewDatabase, another_vault, new_database, served
from tests.support.server import VaultServer

__all__ = ["another_vault", "new_database"]


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[VaultServer]:
    directory = tmp_path_factory.mktemp("acceptance")
    yield from served(directory, new_database(directory))
