"""A plugin with settings, a file and a lifecycle: it writes when the vault starts and stops."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsqlvault.config import PluginSettings, Section, Settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.model.sandbox import ProcessNeeds


class ExampleSettings(Section):
    """``[plugins.example]``."""

    path: str = "example.log"


class ExamplePlugin:
    """The hooks, on one object that remembers the path."""

    path = Path()

    @hookimpl
    def vault_settings(self) -> list[PluginSettings]:
        """Offer the table ``[plugins.example]``."""
        return [PluginSettings("example", ExampleSettings)]

    @hookimpl
    def vault_process_needs(self, settings: Settings) -> list[ProcessNeeds]:
        """Declare the folder of the file: everything else is closed while the vault serves."""
        return [ProcessNeeds(writable=(str(Path(settings.plugin("example").path).resolve().parent),))]

    @hookimpl
    async def vault_startup(self, settings: Settings, storage: Mapping[str, Any]) -> None:
        """Begin, before anything is served."""
        self.path = Path(settings.plugin("example").path)
        self.path.write_text(f"started on {storage['product']}\n", "utf-8")

    @hookimpl
    async def vault_shutdown(self) -> None:
        """End, after everything was served."""
        self.path.write_text("stopped\n", "utf-8")


plugin = ExamplePlugin()
