"""The hooks, on one object: the journal outlives a single call and belongs to the process."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.hookspecs import PluginSettings, hookimpl
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_purge_journal.journal import Journal, JournalUnavailable
from vsqlvault_purge_journal.method import JournalledDelete

log = logging.getLogger(__name__)
NAME = "purge-journal"


class PurgeJournalSettings(BaseModel):
    """``[plugins.purge-journal]``: ``path`` is the journal's file, as an absolute path; its directory must exist."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    path: str

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not Path(value).is_absolute() or "\0" in value:
            raise ValueError("an absolute path, such as /var/lib/vsql-vault/purges.ndjson")
        return value


class PurgeJournalPlugin:
    """Keeps one journal for the one vault of a process."""

    def __init__(self) -> None:
        self.journal = Journal()
        self._path: Path | None = None

    @hookimpl
    def vault_settings(self) -> list[PluginSettings]:
        """Offer the table ``[plugins.purge-journal]``."""
        return [PluginSettings(NAME, PurgeJournalSettings)]

    @hookimpl
    def vault_purge_methods(self, settings: Settings) -> list[PurgeMethod]:
        """Offer ``journalled-delete``, and remember the path: this is the only hook here that is shown the settings."""
        self._path = Path(settings.plugin(NAME).path)
        return [JournalledDelete(self.journal)]

    @hookimpl
    def vault_process_needs(self, settings: Settings) -> list[ProcessNeeds]:
        """Need the journal's directory: the file is made there, and made again when it was moved away."""
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
            sentence = f"plugins.{NAME}.path: expected a file that can be appended to, found: {found}"
            log.error(sentence, extra={"path": str(self._path)})  # noqa: TRY400 - the sentence says it all
            raise SettingsInvalid(sentence) from error

    @hookimpl
    async def vault_shutdown(self) -> None:
        """Write what waits, flush and close. What is lost is logged, as a count."""
        self.journal.close()

    @hookimpl
    def vault_entry_purged(self, record: PurgeRecord) -> None:
        """Append the record's line, durable before the answer leaves: it costs one flush.

        Raises:
            OSError, JournalUnavailable: for the vault's log; the answer is not changed.
        """
        self.journal.append(record)


plugin = PurgeJournalPlugin()
