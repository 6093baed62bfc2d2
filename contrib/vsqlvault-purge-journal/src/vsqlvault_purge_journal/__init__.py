"""A journal of purges in a file outside the database."""

from vsqlvault_purge_journal.hooks import plugin

__all__ = ["plugin"]
