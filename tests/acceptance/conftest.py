"""One vault as it comes on each storage, for all acceptance tests."""

from __future__ import annotations

from tests.support.fixtures import another_vault, migrated, new_database, shared_vaults, storage_kind

sqlite_vault, postgresql_vault, vault = shared_vaults("acceptance")

__all__ = ["another_vault", "migrated", "new_database", "storage_kind"]
