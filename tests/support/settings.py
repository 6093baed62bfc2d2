"""Settings as a vault with all built-in plugins reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsqlvault.config import Settings, load_settings, with_plugin_settings
from vsqlvault_plugins.anchor import file as anchor_file
from vsqlvault_plugins.auth import mtls
from vsqlvault_plugins.auth.jwt import plugin as jwt
from vsqlvault_plugins.storage.postgres import plugin as postgres

OFFERED = (
    *jwt.vault_settings(),
    *mtls.vault_settings(),
    *postgres.vault_settings(),
    *anchor_file.plugin.vault_settings(),
)


def load(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read settings from a file and variables, with the tables of the built-in plugins checked."""
    return with_plugin_settings(load_settings(path, environment), OFFERED)


def checked(tables: Mapping[str, Any]) -> Settings:
    """Return the settings of these tables, with the tables of the built-in plugins checked."""
    return with_plugin_settings(Settings.model_validate(dict(tables)), OFFERED)
