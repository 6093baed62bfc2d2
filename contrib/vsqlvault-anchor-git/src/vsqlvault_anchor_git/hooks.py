"""The hooks, on one object, because the anchor belongs to the process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.hookspecs import PluginSettings, hookimpl
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_anchor_git.anchor import GitAnchor
from vsqlvault_anchor_git.repository import LocalRepository, RemoteRepository, Repository

NAME = "git-anchor"
_PORTS = {"https": 443, "http": 80}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class GitAnchorSettings(BaseModel):
    """``[plugins.git-anchor]``: the repository, the branch, the interval and the credentials."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    repository: str | None = None
    branch: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*$", max_length=100)] = "main"
    interval_seconds: float = Field(default=300, ge=0, le=86_400)
    deadline_seconds: float = Field(default=5, gt=0, le=60)
    username: Annotated[str, Field(pattern=r"^[^:\x00-\x1f\x7f]+$")] = "git"
    token_env: str | None = None

    @field_validator("repository")
    @classmethod
    def _path_or_url(cls, value: str | None) -> str | None:
        if value is None or (value.startswith("/") and "\0" not in value):
            return value
        url = urlsplit(value)
        if url.scheme not in _PORTS or not url.hostname or (url.scheme == "http" and url.hostname not in _LOOPBACK):
            raise ValueError("an absolute path of a bare repository, or a URL with https:")
        if url.username is not None or url.password is not None or url.query or url.fragment:
            raise ValueError("a URL without credentials: the token belongs in the variable that token_env names")
        return value

    @property
    def is_remote(self) -> bool:
        """Whether the repository is on a server."""
        return self.repository is not None and not self.repository.startswith("/")

    @property
    def port(self) -> int:
        """The server's TCP port."""
        url = urlsplit(self.repository or "")
        return url.port or _PORTS[url.scheme]


class GitAnchorPlugin:
    """The git anchor of the one vault in a process."""

    def __init__(self) -> None:
        self._anchor: GitAnchor | None = None

    @hookimpl
    def vault_settings(self) -> list[PluginSettings]:
        """Return the settings model ``[plugins.git-anchor]``."""
        return [PluginSettings(NAME, GitAnchorSettings)]

    @hookimpl
    def vault_process_needs(self, settings: Settings) -> list[ProcessNeeds]:
        """Declare the repository's directory, or the server's port."""
        chosen: GitAnchorSettings = settings.plugin(NAME)
        if chosen.repository is None:
            return []
        if chosen.is_remote:
            return [ProcessNeeds(connect_ports=(chosen.port,))]
        return [ProcessNeeds(writable=(chosen.repository,))]

    @hookimpl
    def vault_anchors(self, settings: Settings) -> list[Anchor]:
        """Return the anchor, if a repository is configured."""
        chosen: GitAnchorSettings = settings.plugin(NAME)
        self._anchor = None
        if chosen.repository is not None:
            self._anchor = GitAnchor(
                _repository(chosen, chosen.repository),
                interval_seconds=chosen.interval_seconds,
                deadline_seconds=chosen.deadline_seconds,
            )
        return [self._anchor] if self._anchor else []

    @hookimpl
    async def vault_startup(self) -> None:
        """Start storing checkpoints."""
        if self._anchor:
            self._anchor.start()

    @hookimpl
    async def vault_shutdown(self) -> None:
        """Store the last checkpoint."""
        if self._anchor:
            await self._anchor.stop()


def _repository(chosen: GitAnchorSettings, place: str) -> Repository:
    if not chosen.is_remote:
        if not Path(place).is_dir():
            raise SettingsInvalid(
                f"plugins.{NAME}.repository: expected a bare repository, found no directory: git init --bare"
            )
        return LocalRepository(place, chosen.branch)
    credentials = None
    if chosen.token_env is not None:
        token = os.environ.get(chosen.token_env, "")
        if not token:
            raise SettingsInvalid(f"plugins.{NAME}.token_env: expected the variable {chosen.token_env} to be set")
        credentials = (chosen.username, token)
    return RemoteRepository(place, chosen.branch, credentials, chosen.deadline_seconds)


plugin = GitAnchorPlugin()
