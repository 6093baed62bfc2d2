"""Where a loaded plugin came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluginOrigin:
    """A plugin's name, and the distribution and version that brought it."""

    name: str
    distribution: str
    version: str
