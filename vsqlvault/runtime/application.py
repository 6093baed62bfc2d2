"""The vault as an ASGI application."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from vsqlvault.config import Settings, load_settings
from vsqlvault.runtime.background import background
from vsqlvault.runtime.lifecycle import open_vault
from vsqlvault.service.vault import Vault


def create_app(settings: Settings | None = None) -> Any:
    """Return the Quart application, for any ASGI server: ``hypercorn 'vsqlvault.runtime:create_app()'``.

    Without ``settings`` it reads the file that ``VSQL_VAULT_CONFIG`` names, and the environment.
    """
    from vsqlvault.http.app import build_app  # noqa: PLC0415 - only serving needs Quart, and it takes long to import

    if settings is None:
        path = os.environ.get("VSQL_VAULT_CONFIG")
        settings = load_settings(Path(path) if path else None)
    settings.auth.check_secrets(os.environ)
    chosen = settings

    @asynccontextmanager
    async def opened() -> AsyncIterator[Vault]:
        async with (
            open_vault(chosen) as vault,
            background(vault, chosen),
            vault.audit.process_log.running(None),
        ):
            yield vault

    return build_app(chosen, opened)
