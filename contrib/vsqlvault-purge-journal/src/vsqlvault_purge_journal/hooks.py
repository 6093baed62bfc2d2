"""The hooks, on one object, because the journal belongs to the process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from vsqlvault.config import Settings, require_directory
from vsqlvault.errors import SettingsInvalid
from vsqlvault.hookspecs import PluginSettings, hookimpl
from vsqlvault.interfaces.observer import Observer
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_purge_journal.journal import Journal, JournalUnavailable
from vsqlvault_purge_journal.method import JournalledDelete

log = logging.getLogger(__name__)
NAME = "purge-journal"


class PurgeJournalSettings(BaseModel):
    """``[plugins.purge-journal]``: ``path`` is the absolute path of the journal. Its directory must exist."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    path: str

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not Path(value).is_absolute() or "\0" in value:
            raise ValueError("an absolute path, such as /var/lib/vsql-vault/purges.ndjson")
        return value


class OtherPurges(Observer):
    """Writes the lines of purges by other methods than ``journalled-delete``, which writes its own."""

    name = NAME

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def purges(self, records: Sequence[PurgeRecord]) -> None:
        """See ``Observer.purges``.

        Raises:
            OSError, JournalUnavailable: the vault delivers the records again.
        """
        others = [record for record in records if record.method != JournalledDelete.name]
        await asyncio.to_thread(self._journal.append, others)


class PurgeJournalPlugin:
    """The journal of the one vault in a process."""

    def __init__(self) -> None:
        self.journal = Journal()
        self._path: Path | None = None

    @hookimpl
    def vault_settings(self) -> list[PluginSettings]:
        """Return the settings model ``[plugins.purge-journal]``."""
        return [PluginSettings(NAME, PurgeJournalSettings)]

    @hookimpl
    def vault_purge_methods(self, settings: Settings) -> list[PurgeMethod]:
        """Return ``journalled-delete``, and remember the path: this is the only hook here with the settings.

        Raises:
            SettingsInvalid: the directory of the journal does not exist.
        """
        self._path = Path(settings.plugin(NAME).path)
        require_directory(f"plugins.{NAME}.path", self._path)
        return [JournalledDelete(self.journal)]

    @hookimpl
    def vault_process_needs(self, settings: Settings) -> list[ProcessNeeds]:
        """Declare the journal's directory, in which the file is created, also after it was moved."""
        return [ProcessNeeds(writable=(str(Path(settings.plugin(NAME).path).parent),))]

    @hookimpl
    async def vault_startup(self) -> None:
        """Open the journal.

        Raises:
            SettingsInvalid: it cannot be opened, so the vault does not start.
        """
        if self._path is None:
            raise SettingsInvalid(f"plugins.{NAME}.path: expected a path, found none")
        try:
            self.journal.open(self._path)
        except (OSError, JournalUnavailable) as error:
            found = getattr(error, "strerror", None) or str(error)
            sentence = f"plugins.{NAME}.path: expected a writable file, found: {found}"
            log.error(sentence, extra={"path": str(self._path)})  # noqa: TRY400 - the message is complete
            raise SettingsInvalid(sentence) from error

    @hookimpl
    async def vault_shutdown(self) -> None:
        """Flush and close."""
        self.journal.close()

    @hookimpl
    def vault_observers(self) -> list[Observer]:
        """Return the observer that writes the lines of the other purge methods."""
        return [OtherPurges(self.journal)]


plugin = PurgeJournalPlugin()
