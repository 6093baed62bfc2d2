"""Applies the process sandbox that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from vsqlvault.config import Settings
from vsqlvault.plugin_loader import Plugins
from vsqlvault.sandbox.reach import asked_of
from vsqlvault.sandbox.sandbox import Lockdown, import_early, lock_down


def harden(plugins: Plugins, config: Path | None) -> Lockdown:
    """Lock this process in, for good, as far as the settings ask and the system allows; return what became of each step.

    It comes after everything is imported and before the storage is opened or a thread is started. ``config`` is the file
    that the settings are read from again.

    Raises:
        HardeningUnavailable: a step that the settings require is not to be had.
        SettingsInvalid, PluginUnusable: what is to stay reachable cannot be told.
    """
    needs, undeclared = plugins.process_needs(plugins.settings)
    import_early()
    return lock_down(plugins.settings, asked_of(plugins.settings, needs, config), undeclared=undeclared)


def check_reach(plugins: Plugins, lockdown: Lockdown, settings: Settings) -> None:
    """Refuse new settings that need what this process has closed to itself.

    Raises:
        SettingsInvalid, PluginUnusable.
    """
    checked = plugins.check(settings)
    lockdown.check(asked_of(checked, plugins.process_needs(checked)[0]))
