"""Serves every route without a framework. The vault's own server uses it, so that it does not load Quart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from vsqlvault.http.application import Application
from vsqlvault.http.fast_path import pieces_of, raw_path_of, request_of
from vsqlvault.http.messages import Reply, answer_of, collect_body, fields_of

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class PlainAsgi:
    """An ASGI application for HTTP. A server of the vault calls it; a request is never cancelled."""

    def __init__(self, application: Application, body_timeout_seconds: float) -> None:
        self._application = application
        self._body_timeout_seconds = body_timeout_seconds

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def read_body(limit: int) -> bytes:
            return await collect_body(pieces_of(receive), limit, self._body_timeout_seconds)

        match = self._application.router.find(scope["method"], raw_path_of(scope))
        request = request_of(scope, match.params, read_body)
        reply = await self._application.answer(request, match.operation, match.refusal)
        is_head = request.method == "HEAD"
        if not isinstance(reply.body, bytes) and not is_head:
            await _send_stream(reply, reply.body, receive, send)
            return
        status, fields, body = answer_of(reply, is_head=is_head)
        await send({"type": "http.response.start", "status": status, "headers": _encoded(fields)})
        await send({"type": "http.response.body", "body": body, "more_body": False})


async def _send_stream(reply: Reply, pieces: Any, receive: Receive, send: Send) -> None:
    """Send a stream until it ends or the client is gone. The generator is closed in both cases."""
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": _encoded(fields_of(reply))})
        async for piece in pieces:
            if gone.done():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


async def _disconnected(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] == "http.request":
        pass


def _encoded(fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields]
