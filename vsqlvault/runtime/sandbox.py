"""Applies the process sandbox that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from vsqlvault.config import Settings
from vsqlvault.plugin_loader import Plugins
from vsqlvault.sandbox.reach import requested_access
from vsqlvault.sandbox.sandbox import Sandbox, apply_sandbox, import_early


def harden(plugins: Plugins, config: Path | None) -> Sandbox:
    """Apply the sandbox to this process, irreversibly, as far as settings and system allow; return the state of each step.

    Call it after all imports, and before the storage is opened or a thread is started. ``config`` is the settings file,
    which is read again on SIGHUP.

    Raises:
        HardeningUnavailable: a required step is not available.
        SettingsInvalid, PluginUnusable: what must remain accessible cannot be determined.
    """
    needs, undeclared = plugins.process_needs(plugins.settings)
    import_early()
    return apply_sandbox(plugins.settings, requested_access(plugins.settings, needs, config), undeclared=undeclared)


def check_reach(plugins: Plugins, sandbox: Sandbox, settings: Settings) -> None:
    """Refuse new settings that need access which this process has given up.

    Raises:
        SettingsInvalid, PluginUnusable.
    """
    checked = plugins.check(settings)
    sandbox.check(requested_access(checked, plugins.process_needs(checked)[0]))
