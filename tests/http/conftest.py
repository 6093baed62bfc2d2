"""One vault, small limits, for all tests of the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fixtures import another_vault, served
from tests.support.server import VaultServer

SETTINGS = """
[server]
max_value_bytes = 65536
max_body_bytes = 131072
body_timeout_seconds = 1
"""

__all__ = ["another_vault"]


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    yield from served(tmp_path_factory.mktemp("http"), SETTINGS)
