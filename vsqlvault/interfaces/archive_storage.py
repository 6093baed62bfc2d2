"""The part of a storage for archives of the log: records of archives, and the drop of archived rows.

The logs and the leaves are append-only but for one case: a row below the end of a recorded archive that nothing needs. The
database itself rejects the deletion of any other row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.transparency import LogName
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class NewestArchiveIs:
    """The newest recorded archive has this number; 0 if there is none."""

    number: int


@dataclass(frozen=True, slots=True)
class SaveArchive:
    """Add the record of an archive. Older ones are kept."""

    archive: LogArchive


class ArchiveStorage(Protocol):
    """The part of a storage that the archive of the log uses. Errors are as for ``Storage``.

    ``describe`` has ``drops_archived_rows`` if the storage can drop them. By default, a storage cannot.
    """

    async def archives(self) -> Sequence[LogArchive]:
        """Return the records of all archives, the oldest first."""
        ...

    async def drop_archived(self, log: LogName, first: int, limit: int) -> int | None:
        """Drop archived rows of a log that nothing needs, and their leaves, from the leaf ``first`` on.

        At most the next ``limit`` leaves are gone through: as many as one short transaction can. No row of a leaf before
        ``first``, or after these, is dropped. Return the index of the leaf to go on with, or None if there is none left. The
        hashes in the tiles stay. These rows stay, because something needs them: those that
        ``proof.archive_record.is_kept`` selects; the rows that stored an entry that exists, in its first and in its present
        version, or moved its expiry; and the row of a purge whose entry's row exists.

        Raises:
            SettingsInvalid: the storage cannot drop rows, or not as the role that is connected.
        """
        ...

    async def reclaim(self) -> bool:
        """Return some of the space of dropped rows to the file system or to new rows, and whether there may be more.

        Requests wait for a short time at most.
        """
        ...
