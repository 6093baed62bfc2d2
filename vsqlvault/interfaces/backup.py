"""What a storage reports about a backup that it has made."""

from __future__ import annotations

from pathlib import Path

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class BackupContents:
    """A backup file, and what it contains: one state of the storage.

    ``checkpoint`` is the newest signed checkpoint in it, or None. ``restore`` is the command or the step that restores it.
    """

    file: Path
    product: str
    schema_version: int
    entries: int
    access_rows: int
    purge_rows: int
    checkpoint: str | None
    restore: str
