"""Fixtures for whoever tests a plugin of the vault: installed with vsqlvault, and loaded by pytest as an entry point.

Nothing of the vault is imported until a fixture is asked for: other suites of the same environment are not held up by it,
and coverage begins before the vault does.
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
    """Plugins, modules or objects, for ``vsqlvault_vault`` to load beside the built-in ones: override it with yours."""
    return ()


@pytest.fixture
def vsqlvault_settings() -> Mapping[str, Any]:
    """Settings for ``vsqlvault_vault``, as tables of the settings file: override it with yours."""
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
    """A vault that runs on SQLite in ``tmp_path``, with a retention policy for the purpose ``card``."""
    return _vsqlvault_running[0]


@pytest.fixture
def vsqlvault_client(_vsqlvault_running: tuple[RunningVault, VaultClient]) -> VaultClient:
    """A client of ``vsqlvault_vault``, with keys for vault-admin, auditor, payments and shop."""
    return _vsqlvault_running[1]


@pytest.fixture
def vsqlvault_storage(vsqlvault_vault: RunningVault) -> FaultyStorage:
    """The storage of ``vsqlvault_vault``, which fails on command."""
    return vsqlvault_vault.storage
