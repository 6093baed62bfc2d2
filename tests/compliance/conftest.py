"""A storage for each kind of database."""

from __future__ import annotations

from tests.support.fixtures import migrated, new_database, storage_kind

__all__ = ["migrated", "new_database", "storage_kind"]
