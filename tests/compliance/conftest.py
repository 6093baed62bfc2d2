"""A storage for each kind of database."""

from __future__ import annotations

from tests.support.fixtures import new_database

__all__ = ["new_database"]
