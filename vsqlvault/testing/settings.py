"""Settings for tests, with the tables of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsqlvault.config import PluginSettings, Settings, with_plugin_settings


def settings_with(tables: Mapping[str, Any] | None = None, *offered: PluginSettings) -> Settings:
    """Return the settings of a file with these tables, checked as at start.

    ``offered`` are the settings of plugins, as their hook ``vault_settings`` returns them.

    Example:
        settings = settings_with({"plugins": {"hours": {"opens": 7}}}, PluginSettings("hours", Hours))
        assert settings.plugin("hours").opens == 7

    Raises:
        SettingsInvalid: a table of a plugin does not fit its model, or belongs to none of ``offered``.
    """
    return with_plugin_settings(Settings.model_validate(dict(tables or {})), offered)
