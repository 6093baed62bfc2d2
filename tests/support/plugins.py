"""Plugins that are installed for one served vault only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def installed(directory: Path, name: str, source: Path) -> Mapping[str, str]:
    """Install a module as the plugin ``name``, and return the variables with which a process finds it."""
    module = source.stem
    (directory / source.name).write_text(source.read_text("utf-8"), "utf-8")
    about = directory / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[vsqlvault.plugins]\n{name} = {module}\n")
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{directory}{os.pathsep}{before}" if before else str(directory)}
