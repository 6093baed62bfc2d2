"""HTTP/2, for those who ask for it: Hypercorn's, on a connection that has shaken hands already."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

MAX_STREAMS = 100
NEVER = 10**9


class Http2:
    """Hands connections to Hypercorn. ``app`` is an ASGI application; it learns the client's certificate as in HTTP/1.1."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], keep_alive_seconds: float) -> None:
        self._app = app
        self._config = Config()
        self._config.accesslog = None
        self._config.errorlog = None
        self._config.include_server_header = False
        self._config.keep_alive_timeout = keep_alive_seconds
        self._config.keep_alive_max_requests = NEVER  # it drops what is in flight when that number is reached
        self._config.h2_max_concurrent_streams = MAX_STREAMS
        self._context = WorkerContext(None)

    async def serve(self, transport: asyncio.Transport, first: bytes, describe_tls: Callable[[], Any]) -> None:
        """Serve a connection to its end.

        ``first`` is what has been read of it; ``describe_tls`` gives the ASGI extension ``tls`` for each request.
        """
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if first:
            reader.feed_data(first)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)

        async def app(scope: Any, receive: Any, send: Any, *_: Any) -> None:
            if scope["type"] == "http":
                scope = {**scope, "extensions": {"tls": describe_tls()}}
            await self._app(scope, receive, send)

        await TCPServer(ASGIWrapper(app), loop, self._config, self._context, {}, reader, writer)

    async def stop(self) -> None:
        """Let every connection end once what it asked for is answered."""
        await self._context.terminated.set()
