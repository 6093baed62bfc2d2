"""A vault on MariaDB answers as one on SQLite does."""

from __future__ import annotations

from pathlib import Path

import pytest
import vsqlvault_storage_mariadb
from mariadb_server import url_of

from vsqlvault.testing.same_answers import answers, differences


@pytest.mark.usefixtures("mariadb_socket")
def test_a_vault_answers_on_mariadb_as_on_sqlite(tmp_path: Path) -> None:
    on_mariadb, on_sqlite = (
        answers(tmp_path, url, [vsqlvault_storage_mariadb], has_scrub=False)
        for url in (url_of(tmp_path), f"sqlite:///{tmp_path / 'vault.db'}")
    )
    assert {answer.status for _, answer in on_mariadb} >= {200, 201, 400, 401, 403, 404, 409, 410, 422, 423}
    assert differences(on_mariadb, on_sqlite) == []
