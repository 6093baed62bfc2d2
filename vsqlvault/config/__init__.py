"""Settings: definition and loading."""

from vsqlvault.config.auth import ApiKeySettings, AuthSettings, Grant
from vsqlvault.config.loading import checked_table, load_settings, with_plugin_settings
from vsqlvault.config.output_paths import require_directory
from vsqlvault.config.schema import settings_schema
from vsqlvault.config.sections import APP_NAME, App, PluginSettings, PublicSection, Section
from vsqlvault.config.settings import (
    DEFAULT_SIGNING_KEY_FILE,
    AuditSettings,
    ComplianceSettings,
    ExportSettings,
    HardeningSettings,
    ServerSettings,
    Settings,
    TlsSettings,
)

__all__ = [
    "APP_NAME",
    "DEFAULT_SIGNING_KEY_FILE",
    "ApiKeySettings",
    "App",
    "AuditSettings",
    "AuthSettings",
    "ComplianceSettings",
    "ExportSettings",
    "Grant",
    "HardeningSettings",
    "PluginSettings",
    "PublicSection",
    "Section",
    "ServerSettings",
    "Settings",
    "TlsSettings",
    "checked_table",
    "load_settings",
    "require_directory",
    "settings_schema",
    "with_plugin_settings",
]
