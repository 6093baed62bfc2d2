"""The Quart application: a thin adapter between Quart's requests and the dispatcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any

from quart import Quart, Response, request
from quart.wrappers import Body
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from vsqlvault.config import Settings
from vsqlvault.errors import BadRequest, ClientAborted, PayloadTooLarge
from vsqlvault.http.application import Application
from vsqlvault.http.fast_path import FastPath, raw_path_of, request_of
from vsqlvault.http.forwarding import Forwarding
from vsqlvault.http.messages import BodyReader, Reply, answer_of, collect_body
from vsqlvault.http.routing import Match
from vsqlvault.http.server.state import Counts
from vsqlvault.service.vault import Vault

if TYPE_CHECKING:
    from vsqlvault.http.metrics.workers import Share

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
Opener = Callable[[], AbstractAsyncContextManager[Vault]]


def build_app(
    settings: Settings,
    open_vault: Opener,
    counts: Counts | None = None,
    share: Share | None = None,
    forwarding: Forwarding | None = None,
) -> Quart:
    """Return the application. It opens its vault when it starts to serve, and closes the vault at the end.

    ``counts`` are the server's connection counts, for metrics. ``share`` is the shared memory of several workers.
    ``forwarding`` is reloaded on SIGHUP.
    """
    app = Quart("vsqlvault", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.server.max_body_bytes,
        BODY_TIMEOUT=None,  # the adapter has its own deadline
        RESPONSE_TIMEOUT=None,
        PROVIDE_AUTOMATIC_OPTIONS=False,
    )
    app.url_map.merge_slashes = False
    adapter = Adapter(settings, counts or Counts(), share, forwarding)
    app.add_url_rule("/", "any", adapter.view, methods=list(METHODS), provide_automatic_options=False)
    app.register_error_handler(HTTPException, adapter.refuse)
    app.register_error_handler(Exception, adapter.refuse)
    stack = AsyncExitStack()
    fast_path = FastPath(PathGuard(app.asgi_app), adapter.router, adapter, settings.server.body_timeout_seconds)

    @app.before_serving
    async def begin() -> None:
        adapter.begin(await stack.enter_async_context(open_vault()))
        await adapter.prepare()
        fast_path.use(adapter.dispatcher)

    @app.after_serving
    async def end() -> None:
        await adapter.end()
        await stack.aclose()

    app.asgi_app = fast_path  # type: ignore[method-assign]
    return app


class PathGuard:
    """Gives Quart a path and a method that it can route without decoding. The dispatcher rejects invalid ones later."""

    def __init__(self, asgi_app: Any) -> None:
        self._asgi_app = asgi_app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Forward an ASGI call. A WebSocket is closed at once, because WebSockets are not supported."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            scope = {**scope, "path": "/"}  # the router matches the path as it was sent
            if scope["method"] not in METHODS:
                scope["method"] = "TRACE"  # a method that no route has, and that Quart knows
        await self._asgi_app(scope, receive, send)


class Adapter(Application):
    """Converts Quart's request to ours, and our reply to Quart's response."""

    def __init__(
        self, settings: Settings, counts: Counts, share: Share | None = None, forwarding: Forwarding | None = None
    ) -> None:
        super().__init__(settings, counts, share, forwarding)
        self._body_timeout_seconds = settings.server.body_timeout_seconds

    async def view(self) -> Response:
        """Answer the request of Quart's context."""
        scope: Any = request.scope
        match = self.router.find(scope["method"], raw_path_of(scope))
        return await self._serve(match)

    async def refuse(self, error: Exception) -> Response:
        """Answer a request that Quart did not route, or that failed in Quart."""
        if isinstance(error, HTTPException):
            return await self._serve(Match(None, {}, BadRequest()))
        raise error

    async def _serve(self, match: Match) -> Response:
        gone = asyncio.get_running_loop().create_future()
        reader = _body_reader(request.body, gone, self._body_timeout_seconds)
        asked = request_of(request.scope, match.params, reader)
        try:
            reply = await self.answer(asked, match.operation, match.refusal)
        except asyncio.CancelledError:
            if not gone.done():
                gone.set_result(None)
            raise
        return _response(reply, is_head=asked.method == "HEAD")


def _body_reader(body: Body, gone: asyncio.Future[None], timeout_seconds: float) -> BodyReader:
    """Return the function that reads Quart's body while the client sends it."""

    async def read(limit: int) -> bytes:
        collecting = asyncio.ensure_future(collect_body(_chunks(body, limit), limit, timeout_seconds))
        either: set[asyncio.Future[Any]] = {collecting, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not collecting.done():
                collecting.cancel()
        if collecting.cancelled() or not collecting.done():
            raise ClientAborted
        return collecting.result()

    return read


async def _chunks(body: Body, limit: int) -> AsyncIterator[bytes]:
    """Yield the chunks of a body. Quart's versions raise different errors at different times."""
    try:
        async for chunk in body:
            yield chunk
    except RequestEntityTooLarge:
        raise PayloadTooLarge(f"a body has at most {limit} bytes") from None
    except Exception as error:
        raise ClientAborted from error


def _response(reply: Reply, *, is_head: bool) -> Response:
    if not isinstance(reply.body, bytes):
        response = Response(_pieces(reply.body), reply.status, Headers(reply.headers), content_type=reply.content_type)
        if is_head:
            response.set_data(b"")
            response.headers.pop("Content-Length", None)
    else:
        status, fields, body = answer_of(reply, is_head=is_head)
        response = Response(body, status, Headers(fields))
        for name in ("Content-Length", "Content-Type"):  # Quart's own, where the reply has none
            if name.lower() not in dict(fields):
                response.headers.pop(name, None)
    response.timeout = None
    return response


async def _pieces(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in stream:
        yield piece
