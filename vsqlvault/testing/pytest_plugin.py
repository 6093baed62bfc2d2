"""Pytest fixtures for testing plugins, installed with vsqlvault and loaded through an entry point.

Nothing of the vault is imported until a fixture is used, so that other test suites in the environment are not slowed
down and coverage starts before the vault does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vsqlvault.testing.faults import FaultyStorage
    from vsqlvault.testing.running import RunningVault, VaultClient


@pytest.fixture
def vsqlvault_plugins() -> Sequence[object]:
    """Plugins, modules or objects, that ``vsqlvault_vault`` loads in addition to the built-in ones. Override it."""
    return ()


@pytest.fixture
def vsqlvault_settings() -> Mapping[str, Any]:
    """Settings of ``vsqlvault_vault``, as tables of the settings file. Override it."""
    return {}


@pytest.fixture
def _vsqlvault_running(
    tmp_path: Path, vsqlvault_plugins: Sequence[object], vsqlvault_settings: Mapping[str, Any]
) -> Iterator[tuple[RunningVault, VaultClient]]:
    from vsqlvault.testing.running import running_vault  # noqa: PLC0415 - see above

    with running_vault(tmp_path, plugins=vsqlvault_plugins, settings=vsqlvault_settings) as running:
        yield running


@pytest.fixture
def vsqlvault_vault(_vsqlvault_running: tuple[RunningVault, VaultClient]) -> RunningVault:
    """A running vault on SQLite in ``tmp_path``, with a retention policy for the purpose ``card``."""
    return _vsqlvault_running[0]


@pytest.fixture
def vsqlvault_client(_vsqlvault_running: tuple[RunningVault, VaultClient]) -> VaultClient:
    """A client of ``vsqlvault_vault``, with keys for vault-admin, auditor, payments and shop."""
    return _vsqlvault_running[1]


@pytest.fixture
def vsqlvault_storage(vsqlvault_vault: RunningVault) -> FaultyStorage:
    """The storage of ``vsqlvault_vault``, which can be made to fail."""
    return vsqlvault_vault.storage
