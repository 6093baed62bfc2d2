"""Stores checkpoints in a file, for example on another disk or on a network share."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from vsqlvault.config import Settings, require_directory
from vsqlvault.durable_file import sync_directory
from vsqlvault.errors import SettingsInvalid
from vsqlvault.hookspecs import PluginSettings, hookimpl
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.model.times import format_time
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.quick_dataclass import dataclass

log = logging.getLogger(__name__)
NAME = "file-anchor"
TAIL_BYTES = 256 * 1024
RETRY_SECONDS = 1.0


class FileAnchorSettings(BaseModel):
    """``[plugins.file-anchor]``: the file, and the minimum interval between two lines."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    path: Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")] | None = None
    interval_seconds: float = Field(default=60, ge=0, le=86_400)


@dataclass(frozen=True, slots=True)
class _Kept:
    """One line of the file."""

    note: str
    size: int
    supersedes: bool

    @classmethod
    def parse(cls, line: bytes) -> _Kept | None:
        """Return what the line says; None where it is none of ours, or broke off."""
        try:
            found = json.loads(line)
            return cls(str(found["note"]), int(found["size"]), bool(found.get("supersedes")))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


class FileAnchor(Anchor):
    """An append-only file with one JSON line per checkpoint: ``signed_at``, ``size``, ``note``.

    Several processes may share the file. The checkpoint of the largest tree counts, so a late line of another process takes
    nothing back. After a confirmed restore the next line has ``"supersedes": true``, and the lines before it no longer count.
    """

    name = "file"

    def __init__(self, path: Path, interval_seconds: float, *, retry_seconds: float = RETRY_SECONDS) -> None:
        """``retry_seconds``: the minimum wait after a line could not be appended."""
        self._path = path
        self._retry_seconds = retry_seconds
        self.interval_seconds = interval_seconds
        self._written_at = float("-inf")
        self._waiting: Checkpoint | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: str | None = None
        self._superseded: set[str] = set()

    async def newest(self) -> str | None:
        """See ``Anchor.newest``. An incomplete line is ignored.

        Raises:
            SettingsInvalid: the file cannot be read, or has another content.
        """
        return await asyncio.to_thread(self._newest)

    async def larger_than(self, size: int, limit: int) -> Sequence[str]:
        """See ``Anchor.larger_than``. Lines that were superseded before are included.

        Raises:
            SettingsInvalid: the file cannot be read.
        """
        return await asyncio.to_thread(self._larger_than, size, limit)

    def failure(self) -> str | None:
        """See ``Anchor.failure``."""
        return self._failure

    def supersede(self, note: str) -> None:
        """See ``Anchor.supersede``."""
        self._superseded.add(note)

    def keep(self, checkpoint: Checkpoint) -> None:
        """See ``Anchor.keep``. Appends the checkpoint now, or the newest one when the interval is over."""
        if self._waiting is None or checkpoint.size > self._waiting.size or self._superseded:
            self._waiting = checkpoint
        left = self._written_at + self.interval_seconds - time.monotonic()
        if left <= 0:
            self.flush()
        elif self._timer is None:
            self._flush_in(left)

    def flush(self) -> None:
        """Append the waiting checkpoint. After a failure it waits for the next checkpoint or the next interval."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting is None:
            return
        try:
            self._append(self._waiting)
        except (OSError, SettingsInvalid) as error:
            self._failure = getattr(error, "strerror", None) or "the file cannot be read"
            log.error(  # noqa: TRY400
                "file anchor: a checkpoint cannot be stored",
                extra={"path": str(self._path), "error": self._failure},
            )
            self._flush_in(max(self.interval_seconds, self._retry_seconds))
            return
        self._waiting, self._failure = None, None
        self._written_at = time.monotonic()

    def _flush_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self.flush)

    def _append(self, checkpoint: Checkpoint) -> None:
        """Append a line, unless a larger tree is stored. After an incomplete line, start a new one."""
        line: dict[str, Any] = {"signed_at": format_time(checkpoint.signed_at), "size": checkpoint.size}
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            kept = self._largest()
            if kept is not None and kept.size >= checkpoint.size:
                if kept.note not in self._superseded:
                    return
                line["supersedes"] = True
            data = f"{json.dumps({**line, 'note': checkpoint.note}, ensure_ascii=False)}\n".encode()
            size = os.fstat(descriptor).st_size
            if not size:
                sync_directory(self._path.parent)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _newest(self) -> str | None:
        kept = self._largest()
        return kept.note if kept else None

    def _largest(self) -> _Kept | None:
        """Return the checkpoint of the largest tree since the last line that supersedes what was before."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            self._check_directory()
            return None
        except OSError as error:
            raise SettingsInvalid(f"plugins.{NAME}.path: expected a readable file, found: {error.strerror}") from None
        largest: _Kept | None = None
        for line in lines:
            kept = _Kept.parse(line)
            if kept is not None and (largest is None or kept.supersedes or kept.size > largest.size):
                largest = kept
        if lines and largest is None:
            raise SettingsInvalid(f"plugins.{NAME}.path: expected checkpoints, one JSON line each, found other lines")
        return largest

    def _larger_than(self, size: int, limit: int) -> list[str]:
        try:
            with self._path.open("rb") as file:
                kept = [each for each in map(_Kept.parse, file) if each is not None and each.size > size]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SettingsInvalid(f"plugins.{NAME}.path: expected a readable file, found: {error.strerror}") from None
        return [each.note for each in sorted(kept, key=lambda each: each.size)[-limit:]]

    def _check_directory(self) -> None:
        if not os.access(self._path.parent, os.W_OK):
            raise SettingsInvalid(f"plugins.{NAME}.path: expected a writable directory")


class FileAnchorPlugin:
    """The file anchor of the one vault in a process."""

    def __init__(self) -> None:
        self._anchor: FileAnchor | None = None

    @hookimpl
    def vault_settings(self) -> list[PluginSettings]:
        """Return the settings model ``[plugins.file-anchor]``."""
        return [PluginSettings(NAME, FileAnchorSettings)]

    @hookimpl
    def vault_process_needs(self, settings: Settings) -> list[ProcessNeeds]:
        """Declare the directory of the file, if a file is configured."""
        chosen: FileAnchorSettings = settings.plugin(NAME)
        return [ProcessNeeds(writable=(str(Path(chosen.path).parent),))] if chosen.path else []

    @hookimpl
    def vault_anchors(self, settings: Settings) -> list[Anchor]:
        """Return the anchor, if a file is configured. Raises SettingsInvalid."""
        chosen: FileAnchorSettings = settings.plugin(NAME)
        if chosen.path:
            require_directory(f"plugins.{NAME}.path", Path(chosen.path))
        self._anchor = FileAnchor(Path(chosen.path), chosen.interval_seconds) if chosen.path else None
        return [self._anchor] if self._anchor else []

    @hookimpl
    async def vault_shutdown(self) -> None:
        """Append the last checkpoint."""
        if self._anchor:
            self._anchor.flush()


plugin = FileAnchorPlugin()
