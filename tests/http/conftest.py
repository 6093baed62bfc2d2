"""One vault with small limits on each storage, for all tests of the wire."""

from __future__ import annotations

from tests.support.fixtures import another_vault, migrated, new_database, shared_vaults, storage_kind

SETTINGS = """
[server]
max_value_bytes = 65536
max_body_bytes = 131072
body_timeout_seconds = 1
"""

sqlite_vault, postgresql_vault, vault = shared_vaults("http", SETTINGS)

__all__ = ["another_vault", "migrated", "new_database", "storage_kind"]
