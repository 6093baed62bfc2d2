from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rotation_site import Server, Site


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("vault"))
    yield server
    server.stop()


_numbers = itertools.count()


@pytest.fixture
def site(server: Server, tmp_path: Path) -> Iterator[Site]:
    """A purpose of its own for each test."""
    site = Site(server, tmp_path, f"card-{next(_numbers)}")
    yield site
    site.end()


@pytest.fixture
def entries_to_move() -> int:
    """How many entries the long test moves: a thousand, unless the environment says otherwise."""
    return int(os.environ.get("ROTATE_KEYS_TEST_ENTRIES", "1000"))
