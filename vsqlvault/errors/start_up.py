"""Errors that prevent the vault from starting. No client receives them."""

from __future__ import annotations

from vsqlvault.errors.base import VaultError


class StartUpRefused(VaultError):
    """The vault cannot start."""

    slug = "start-up-refused"


class SettingsInvalid(StartUpRefused):
    """The settings are invalid."""


class PluginClash(StartUpRefused):
    """Two plugins provide the same name."""


class PluginUnusable(StartUpRefused):
    """A plugin cannot be loaded."""


class UnsafeStorage(StartUpRefused):
    """The storage's configuration could lose acknowledged commits."""


class HardeningUnavailable(StartUpRefused):
    """The system does not support a sandbox step that the settings require."""


class SchemaTooOld(StartUpRefused):
    """The storage's schema belongs to an older version of vsqlvault. It is not migrated at start, or is too old."""


class SchemaTooNew(StartUpRefused):
    """The storage's schema belongs to a newer version of vsqlvault."""
