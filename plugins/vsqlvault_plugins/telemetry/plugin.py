"""Offers the export of traces and metrics, where ``[plugins.otel]`` names a collector. Otherwise it imports nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vsqlvault.config import PluginSettings, Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.request_observer import RequestObserver
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_plugins.telemetry.settings import OtelSettings

if TYPE_CHECKING:
    from vsqlvault_plugins.telemetry.otel import OtelObserver

NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


class OtelPlugin:
    """The plugin. It keeps its observers, to send the last spans before the process ends."""

    def __init__(self, needed: Sequence[str] = NEEDED) -> None:
        """``needed``: the modules that must be installed."""
        self._needed = needed
        self._observers: list[OtelObserver] = []

    @hookimpl
    def vault_settings(self) -> list[PluginSettings]:
        """Offer ``[plugins.otel]``."""
        return [PluginSettings("otel", OtelSettings)]

    @hookimpl
    def vault_process_needs(self, settings: Settings) -> list[ProcessNeeds]:
        """Declare the port of the collector."""
        chosen: OtelSettings = settings.plugin("otel")
        if chosen.endpoint is None:
            return []
        parts = urlsplit(chosen.endpoint)
        return [ProcessNeeds(connect_ports=(parts.port or (443 if parts.scheme == "https" else 80),))]

    @hookimpl
    def vault_request_observers(self, settings: Settings) -> list[RequestObserver]:
        """Offer the observer, where a collector is named. Raises SettingsInvalid: the extra is not installed."""
        chosen: OtelSettings = settings.plugin("otel")
        if chosen.endpoint is None:
            return []
        if not all(map(_is_installed, self._needed)):
            raise SettingsInvalid(
                "plugins.otel.endpoint: expected OpenTelemetry to be installed (pip install 'vsqlvault[otel]'), found none"
            )
        from vsqlvault_plugins.telemetry.otel import OtelObserver  # noqa: PLC0415 - only where it is used

        observer = OtelObserver(chosen)
        self._observers.append(observer)
        return [observer]

    @hookimpl
    async def vault_shutdown(self) -> None:
        """Send what is left."""
        observers, self._observers = self._observers, []
        for observer in observers:
            await asyncio.to_thread(observer.close)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it
        return False


plugin = OtelPlugin()
