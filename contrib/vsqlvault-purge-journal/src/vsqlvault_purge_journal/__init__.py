"""A line in a file outside the database for every purge."""

from vsqlvault_purge_journal.hooks import plugin

__all__ = ["plugin"]
