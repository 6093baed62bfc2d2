"""The owner and the mode of the database file: all that is known of who can read it without the vault."""

from __future__ import annotations

import stat
from pathlib import Path

from vsqlvault.model.database_access import DatabaseAccess


def file_access(path: Path) -> DatabaseAccess:
    """Return the facts about the file. A file that cannot be examined has none."""
    try:
        found = path.stat()
    except OSError:
        return DatabaseAccess()
    mode = stat.S_IMODE(found.st_mode)
    return DatabaseAccess(
        file={"mode": f"{mode:04o}", "owner_uid": found.st_uid, "owner_gid": found.st_gid, "others": bool(mode & 0o077)}
    )
