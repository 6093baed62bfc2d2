from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from git_site import Bare, Site, made


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    return made(tmp_path / "checkpoints.git")


@pytest.fixture
def git_bare(bare: Bare) -> Bare:
    """A repository of which git itself can be asked."""
    if shutil.which("git") is None:
        pytest.skip("this machine has no git")
    return bare


@pytest.fixture
def site(tmp_path: Path, bare: Bare) -> Site:
    return Site(tmp_path, bare)
