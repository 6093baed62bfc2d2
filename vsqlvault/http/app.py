"""The Quart application: a thin adapter between Quart's requests and the dispatcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import Any

from quart import Quart, Response, request
from quart.wrappers import Body
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from vsqlvault.config import Settings
from vsqlvault.errors import (
    BadRequest,
    ClientAborted,
    PayloadTooLarge,
)
from vsqlvault.http.cursors import Cursors
from vsqlvault.http.description.docs_page import CONTENT_SECURITY_POLICY, docs_page
from vsqlvault.http.description.openapi import build_openapi
from vsqlvault.http.dispatcher import Dispatcher
from vsqlvault.http.fast_path import FastPath, raw_path_of, request_of
from vsqlvault.http.forwarding import Forwarding
from vsqlvault.http.messages import BodyReader, Reply, Request, answer_of, collect_body
from vsqlvault.http.metrics import Metrics
from vsqlvault.http.metrics.workers import Share
from vsqlvault.http.operation import Operation, RequestContext, also_head
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.http.operations.plugin_pages import page_operations
from vsqlvault.http.routing import Match, Router
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.results.service import OpenApi
from vsqlvault.http.server.state import Counts
from vsqlvault.http.sessions import Sessions
from vsqlvault.service.tasks import PeriodicTask, running
from vsqlvault.service.vault import Vault

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
PUBLISH_SECONDS = 1.0
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


class Adapter:
    """Converts Quart's request to ours, and our reply to Quart's response."""

    def __init__(
        self, settings: Settings, counts: Counts, share: Share | None = None, forwarding: Forwarding | None = None
    ) -> None:
        self._settings = settings
        self._forwarding = forwarding
        self._share = share
        self._counts = counts
        self._vault: Vault | None = None
        self._dispatcher: Dispatcher | None = None
        self._metrics: Metrics | None = None
        self._publishing = AsyncExitStack()
        self.operations = (*OPERATIONS, *self._descriptive())
        self.router = Router(self.operations)

    @cached_property
    def _openapi(self) -> dict[str, Any]:
        return build_openapi(self.operations, self._settings.auth.api_key_header)

    @cached_property
    def _docs_page(self) -> bytes:
        return docs_page(self._openapi)

    def begin(self, vault: Vault) -> None:
        """Set the vault to serve, with its pages. Raises PluginUnusable: a page cannot be served."""
        self._vault = vault
        self._metrics = Metrics(vault, self._counts, self._share)
        self.router = Router((*self.operations, *page_operations(vault.pages, self.operations)))

    async def prepare(self) -> None:
        """Load what the dispatcher needs from the storage."""
        if self._vault is None or self._metrics is None:
            raise RuntimeError("begin() comes first")
        cursors = Cursors(await self._vault.storage.secret("cursor"))
        self._dispatcher = Dispatcher(
            self._settings,
            self._vault,
            cursors,
            self._metrics,
            self._forwarding,
            sessions=Sessions(await self._vault.storage.secret("session")),
            start_path="/console" if any(page.path == "/console" for page in self._vault.pages) else "/docs",
        )
        if self._share:
            publisher = PeriodicTask("metrics of this worker", self._publish, PUBLISH_SECONDS)
            await self._publishing.enter_async_context(running(publisher))

    async def end(self) -> None:
        """Stop the background work."""
        await self._publishing.aclose()
        if self._share:
            await self._publish()

    async def _publish(self) -> None:
        if self._metrics:
            self._metrics.publish()

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

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher, once ``prepare`` is done."""
        if self._dispatcher is None:
            raise RuntimeError("not serving yet")
        return self._dispatcher

    async def answer(self, request: Request, operation: Operation) -> Reply:
        """Answer a request even if the client disconnects meanwhile, which some servers signal by cancellation."""
        if self._vault is None:
            raise RuntimeError("not serving yet")
        return await self._vault.audit.recorder.shielded(self.dispatcher.answer(request, operation))

    async def _serve(self, match: Match) -> Response:
        if self._vault is None:
            raise RuntimeError("not serving yet")
        gone = asyncio.get_running_loop().create_future()
        reader = _body_reader(request.body, gone, self._settings.server.body_timeout_seconds)
        asked = request_of(request.scope, match.params, reader)
        work = asyncio.ensure_future(self.dispatcher.answer(asked, match.operation, match.refusal))
        try:
            reply = await self._vault.audit.recorder.shielded(work)
        except asyncio.CancelledError:
            if not gone.done():
                gone.set_result(None)
            raise
        return _response(reply, is_head=asked.method == "HEAD")

    def _descriptive(self) -> tuple[Operation, ...]:
        async def metrics(exchange: RequestContext) -> Reply:
            if self._metrics is None:
                raise RuntimeError("not serving yet")
            return self._metrics.exposition(exchange.request.header("accept"))

        async def openapi(_: RequestContext) -> Reply:
            return Reply(200, dump_json(self._openapi))

        async def docs(_: RequestContext) -> Reply:
            headers = [("Content-Security-Policy", CONTENT_SECURITY_POLICY)]
            return Reply(200, self._docs_page, "text/html; charset=utf-8", headers)

        return (
            *also_head(
                Operation(
                    method="GET",
                    path="/metrics",
                    name="metrics",
                    summary="Prometheus metrics",
                    handler=metrics,
                    media_types=("text/plain", "application/openmetrics-text"),
                    example="# HELP vsqlvault_connections Connections that are open.\n…",
                    answers={200: "Metrics."},
                    tag="service",
                )
            ),
            Operation(
                method="GET",
                path="/openapi.json",
                name="openapi",
                summary="The API description",
                handler=openapi,
                result=OpenApi,
                answers={200: "OpenAPI 3.1."},
                tag="service",
            ),
            Operation(
                method="GET",
                path="/docs",
                name="docs",
                summary="The API description as a page",
                handler=docs,
                media_types=("text/html",),
                example="<!doctype html>…",
                answers={200: "A page.", 303: "A browser without a session is sent to sign in."},
                tag="service",
                in_browser=True,
            ),
        )


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


@asynccontextmanager
async def already_open(vault: Vault) -> AsyncIterator[Vault]:
    """Serve a vault that the caller has opened and will close."""
    yield vault
