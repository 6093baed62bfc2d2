"""The origin of a loaded plugin."""

from __future__ import annotations

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PluginOrigin:
    """A plugin's name, and the distribution and version that provide it."""

    name: str
    distribution: str
    version: str
