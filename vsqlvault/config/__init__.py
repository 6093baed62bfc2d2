"""Settings: definition and loading."""

from vsqlvault.config.auth import ApiKeySettings, AuthSettings, Grant, JwtSettings, MtlsSettings, https_url
from vsqlvault.config.loading import load_settings, with_plugin_settings
from vsqlvault.config.sections import APP_NAME, App, Section
from vsqlvault.config.settings import (
    AuditSettings,
    ComplianceSettings,
    HardeningSettings,
    ServerSettings,
    Settings,
    TlsSettings,
)

__all__ = [
    "APP_NAME",
    "ApiKeySettings",
    "App",
    "AuditSettings",
    "AuthSettings",
    "ComplianceSettings",
    "Grant",
    "HardeningSettings",
    "JwtSettings",
    "MtlsSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "TlsSettings",
    "https_url",
    "load_settings",
    "with_plugin_settings",
]
