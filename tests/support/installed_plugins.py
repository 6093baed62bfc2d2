"""The installed plugins, read once: each vault that reads them again takes 5 ms of processor time more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from vsqlvault.hookspecs import ENTRY_POINT_GROUP


@dataclass(frozen=True)
class ReadDistribution:
    """What the loader reads of a distribution. The real one parses its metadata each time."""

    name: str
    version: str


def plugins_read_once() -> Callable[..., list[EntryPoint]]:
    """Return what may stand for ``entry_points`` in the loader: it returns the plugins that are installed now."""
    points = list(entry_points(group=ENTRY_POINT_GROUP))
    read = {id(point.dist): ReadDistribution(point.dist.name, point.dist.version) for point in points if point.dist}
    for point in points:
        if point.dist:
            vars(point).update(dist=read[id(point.dist)])
    return lambda group: points if group == ENTRY_POINT_GROUP else []
