"""The software in use: the vault, its plugins, and every third-party library that is loaded."""

from __future__ import annotations

import asyncio
import functools
import platform
import sqlite3
import ssl
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from vsqlvault import __version__
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault_plugins.report.shape import Finding

OPERATOR = "the operator of the vault: whether each still receives fixes, and when that was reviewed"


class Software:
    """The software in use (PCI DSS 4.0.1, 6.3.2)."""

    name = "software"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Versions of the vault, its environment, every plugin and every loaded library."""
        plugins = sorted(context.plugins, key=lambda each: each.name)
        libraries = await asyncio.to_thread(loaded_libraries)
        return Finding(
            title="Software, plugins and libraries",
            requirements=("6.3.2",),
            supports="The loaded software, with its third-party libraries, can be compared with an inventory.",
            method=(
                "Plugins as they were loaded, with their distributions. Libraries are the installed distributions of "
                "which the process that writes the report has loaded a module, with the versions that they report. "
                "Libraries of the operating system are not included, apart from those named."
            ),
            check="GET /health has the version and the plugins, vsql-vault plugins their distributions.",
            measured="now",
            population=len(plugins) + len(libraries),
            figures={
                "vsqlvault": __version__,
                **await asyncio.to_thread(_environment),
                "plugins": [
                    {"name": each.name, "distribution": each.distribution, "version": each.version} for each in plugins
                ],
                "libraries": [{"name": name, "version": found} for name, found in libraries],
            },
        ).member(context.period)


class Technologies:
    """The technologies that have to be reviewed every year (PCI DSS 4.0.1, 12.3.4)."""

    name = "technologies"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The environment with its versions. Not assessed: the vault has no record of a review."""
        environment = await asyncio.to_thread(_environment) | {
            "storage": str(context.storage.get("product", "")) or None
        }
        return Finding(
            title="Technologies in use",
            requirements=("12.3.4",),
            supports="A yearly review can begin with the technologies that the vault runs on.",
            method=(
                "Versions that the software reports now. The vault cannot know which versions still receive fixes, or "
                "what the hardware is. The section software has every library."
            ),
            check="GET /health has the storage and its version.",
            measured="now",
            population=len(environment),
            owner=OPERATOR,
            figures={**environment, "system": platform.system(), "release": platform.release()},
        ).member(context.period)


def loaded_libraries() -> list[tuple[str, str]]:
    """Return the third-party distributions of which a module is loaded, with their versions, by name."""
    loaded = {name.partition(".")[0] for name in tuple(sys.modules)}
    distributions = _distributions()
    names = {name for module in loaded for name in distributions.get(module, ())} - {"vsqlvault"}
    return sorted((name, found) for name in names if (found := _version(name)))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each importable name. Reading them takes a tenth of a second, so it is done once."""
    return packages_distributions()


@functools.cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _environment() -> dict[str, str | None]:
    from cryptography.hazmat.backends.openssl import backend  # noqa: PLC0415 - it takes long to import

    return {
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "openssl_of_cryptography": backend.openssl_version_text(),
        "sqlite": sqlite3.sqlite_version,
    }
