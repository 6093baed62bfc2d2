"""Copies a database file that may be in use, and verifies the copy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from vsqlvault.errors import StorageUnavailable
from vsqlvault.interfaces.backup import BackupContents
from vsqlvault_plugins.storage.sqlite.connection import translated
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES


def back_up(path: Path, directory: Path) -> BackupContents:
    """Copy the database by SQLite's backup API, with what is in its write-ahead log, and verify the copy.

    The copy is one consistent state. Commits continue meanwhile, and the write-ahead log grows until the copy is complete.

    Raises:
        StorageUnavailable: there is no database, it cannot be read, or the copy is damaged. StorageFull.
    """
    if not path.is_file():
        raise StorageUnavailable(f"there is no database {path}")
    copy = directory / "copy.db"
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.execute(QUERIES["pragma_busy_timeout"])
            source.backup(target, pages=-1)  # in one step: another commit would start several steps again
            target.execute(QUERIES["pragma_journal_delete"]).fetchall()
            return _verified(target, copy)
    except sqlite3.Error as error:
        raise translated(error) from error


def _verified(copy: sqlite3.Connection, path: Path) -> BackupContents:
    found = copy.execute(QUERIES["integrity_check"]).fetchall()
    if found != [("ok",)]:
        raise StorageUnavailable("the copy is damaged, and so is the database: integrity_check found errors")
    entries, access, purges = copy.execute(QUERIES["backup_counts"]).fetchone()
    (version,) = copy.execute(QUERIES["schema_version"]).fetchone()
    checkpoint = copy.execute(QUERIES["newest_note"]).fetchone()
    return BackupContents(
        path, f"SQLite {sqlite3.sqlite_version}", version, entries, access, purges,
        checkpoint[0] if checkpoint else None,
        "stop the vault, remove the -wal, -shm and -reserve files, copy this file over the database, start the vault",
    )  # fmt: skip
