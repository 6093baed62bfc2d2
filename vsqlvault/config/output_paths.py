"""Paths of files that the vault writes later: the directory of each must exist when the vault starts."""

from __future__ import annotations

from pathlib import Path

from vsqlvault.errors import SettingsInvalid


def require_directory(setting: str, path: Path) -> None:
    """Require that a file can have this path. ``setting`` is the name of the setting in the message.

    Raises:
        SettingsInvalid: its directory does not exist, or the path is a directory.
    """
    if not path.parent.is_dir():
        raise SettingsInvalid(
            f"{setting}: expected a file in a directory that exists, found no directory {path.parent}"
        )
    if path.is_dir():
        raise SettingsInvalid(f"{setting}: expected a file, found a directory {path}")
