"""What an HTTP/2 connection uses of its server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from vsqlvault.errors import VaultError
from vsqlvault.http.server.state import Answer


class Host(Protocol):
    """The server, as seen by its HTTP/2 connections."""

    app: Any
    loop: asyncio.AbstractEventLoop
    limits: Any
    now: float
    date: bytes
    tls: Any
    connections: Any
    reserve: Any

    def run(self, request: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a request."""

    def ended(self, task: asyncio.Task[None]) -> None:
        """Forget the task of a request."""

    def refused(self, error: VaultError) -> None:
        """Count a malformed request."""

    def problem(self, error: VaultError) -> Answer:
        """Return the response for an error."""

    def forget(self, connection: Any) -> None:
        """Forget a closed connection."""
