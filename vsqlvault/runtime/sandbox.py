"""Applies the process sandbox that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from vsqlvault.config import Settings
from vsqlvault.plugin_loader import Plugins
from vsqlvault.sandbox.reach import requested_access
from vsqlvault.sandbox.sandbox import Sandbox, apply_sandbox, import_early


def harden(plugins: Plugins, config: Path | None) -> Sandbox:
    """Lock this process in, for good, as far as the settings ask and the system allows; return what became of each step.

    It comes after everything is imported and before the storage is opened or a thread is started. ``config`` is the file
    that the settings are read from again.

    Raises:
        HardeningUnavailable: a step that the settings require is not to be had.
        SettingsInvalid, PluginUnusable: what is to stay reachable cannot be told.
    """
    needs, undeclared = plugins.process_needs(plugins.settings)
    import_early()
    return apply_sandbox(plugins.settings, requested_access(plugins.settings, needs, config), undeclared=undeclared)


def check_reach(plugins: Plugins, sandbox: Sandbox, settings: Settings) -> None:
    """Refuse new settings that need what this process has closed to itself.

    Raises:
        SettingsInvalid, PluginUnusable.
    """
    checked = plugins.check(settings)
    sandbox.check(requested_access(checked, plugins.process_needs(checked)[0]))
