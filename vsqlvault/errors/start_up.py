"""What keeps a vault from starting; no client is ever told."""

from __future__ import annotations

from vsqlvault.errors.base import VaultError


class StartUpRefused(VaultError):
    """The vault does not start like this."""

    slug = "start-up-refused"


class SettingsInvalid(StartUpRefused):
    """The settings are not usable."""


class PluginClash(StartUpRefused):
    """Two plugins offer the same name."""


class PluginUnusable(StartUpRefused):
    """A plugin cannot be loaded."""


class UnsafeStorage(StartUpRefused):
    """The storage is set so that it would lose what was acknowledged."""


class HardeningUnavailable(StartUpRefused):
    """The system does not let the process lock itself in as far as the settings require."""


class SchemaTooNew(StartUpRefused):
    """The storage was made by a newer version of vsqlvault."""
