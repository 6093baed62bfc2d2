from __future__ import annotations

from collections.abc import Iterator

import pytest
from mariadb_server import HAS_MARIADB, WHY_NOT, mariadb


@pytest.fixture(scope="session")
def mariadb_socket() -> Iterator[str]:
    if not HAS_MARIADB:
        pytest.skip(WHY_NOT)
    with mariadb() as socket:
        yield socket
