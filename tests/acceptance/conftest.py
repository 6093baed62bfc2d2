"""One vault as it comes, for all acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fixtures import another_vault, served
from tests.support.server import VaultServer

__all__ = ["another_vault"]


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    yield from served(tmp_path_factory.mktemp("acceptance"))
