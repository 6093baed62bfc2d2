"""The Quart application: a thin adapter between Quart's requests and the dispatcher."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
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
    MethodNotAllowed,
    NoSuchRoute,
    PayloadTooLarge,
    RequestTimeout,
    VaultError,
)
from vsqlvault.http.cursors import Cursors
from vsqlvault.http.description.docs_page import CONTENT_SECURITY_POLICY, docs_page
from vsqlvault.http.description.openapi import build_openapi
from vsqlvault.http.dispatcher import Dispatcher
from vsqlvault.http.fast_path import NOT_MODIFIED, FastPath, raw_path_of, request_of
from vsqlvault.http.forwarding import Forwarding
from vsqlvault.http.messages import BodyReader, Reply, Request
from vsqlvault.http.metrics import Counts, Metrics
from vsqlvault.http.metrics.workers import Share
from vsqlvault.http.operation import SEVERAL_SEGMENTS, Operation, RequestContext, also_head
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.results.service import OpenApi
from vsqlvault.service.tasks import PeriodicTask, running
from vsqlvault.service.vault import Vault

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
_PARAMETER = re.compile(r"\{(\w+)\}")
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
    for path, operations in adapter.routes().items():
        rule = _PARAMETER.sub(lambda found: f"<{'path:' * (found[1] in SEVERAL_SEGMENTS)}{found[1]}>", path)
        app.add_url_rule(rule, path, adapter.view(operations), methods=list(METHODS), provide_automatic_options=False)
    app.register_error_handler(HTTPException, adapter.refuse)
    app.register_error_handler(Exception, adapter.refuse)
    stack = AsyncExitStack()

    @app.before_serving
    async def begin() -> None:
        adapter.begin(await stack.enter_async_context(open_vault()))
        await adapter.prepare()

    @app.after_serving
    async def end() -> None:
        await adapter.end()
        await stack.aclose()

    app.asgi_app = FastPath(  # type: ignore[method-assign]
        PathGuard(app.asgi_app), adapter, settings.server.body_timeout_seconds
    )
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
            raw_path = raw_path_of(scope)
            if scope["method"] not in METHODS:
                scope = {**scope, "method": "TRACE"}  # a method that no route has, and that Quart knows
            if b"%" in raw_path or b"//" in raw_path or not raw_path.startswith(b"/") or not raw_path.isascii():
                scope = {**scope, "path": "/-"}
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

    @cached_property
    def _openapi(self) -> dict[str, Any]:
        return build_openapi(self.operations, self._settings.auth.api_key_header)

    @cached_property
    def _docs_page(self) -> bytes:
        return docs_page(self._openapi)

    def begin(self, vault: Vault) -> None:
        """Set the vault to serve."""
        self._vault = vault
        self._metrics = Metrics(vault, self._counts, self._share)

    async def prepare(self) -> None:
        """Load what the dispatcher needs from the storage."""
        if self._vault is None or self._metrics is None:
            raise RuntimeError("begin() comes first")
        cursors = Cursors(await self._vault.storage.secret("cursor"))
        self._dispatcher = Dispatcher(self._settings, self._vault, cursors, self._metrics, self._forwarding)
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

    def routes(self) -> Mapping[str, Mapping[str, Operation]]:
        """Return the operations by path and method."""
        routes: dict[str, dict[str, Operation]] = {}
        for operation in self.operations:
            routes.setdefault(operation.path, {})[operation.method] = operation
        return routes

    def view(self, operations: Mapping[str, Operation]) -> Callable[..., Any]:
        """Return the view of one path. It selects the operation by method, because Quart would answer HEAD with GET's."""
        allowed = ", ".join(operations)

        async def view(**params: str) -> Response:
            operation = operations.get(request.method)
            return await self._serve(operation, params, None if operation else MethodNotAllowed(allowed))

        return view

    async def refuse(self, error: Exception) -> Response:
        """Answer a request that Quart did not route, or that failed in Quart."""
        if isinstance(error, HTTPException):
            refusal: VaultError = {404: NoSuchRoute(), 405: MethodNotAllowed()}.get(error.code or 0, BadRequest())
            return await self._serve(None, {}, refusal)
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

    async def _serve(self, operation: Operation | None, params: dict[str, str], refusal: VaultError | None) -> Response:
        if self._vault is None:
            raise RuntimeError("not serving yet")
        gone = asyncio.get_running_loop().create_future()
        exchange = self._request(params, gone)
        work = asyncio.ensure_future(self.dispatcher.answer(exchange, operation, refusal))
        try:
            reply = await self._vault.audit.recorder.shielded(work)
        except asyncio.CancelledError:
            if not gone.done():
                gone.set_result(None)
            raise
        return _response(reply, is_head=exchange.method == "HEAD")

    def _request(self, params: dict[str, str], gone: asyncio.Future[None]) -> Request:
        reader = _body_reader(request.body, gone, self._settings.server.body_timeout_seconds)
        return request_of(request.scope, params, reader)

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
                answers={200: "A page."},
                tag="service",
            ),
        )


def _body_reader(body: Body, gone: asyncio.Future[None], timeout_seconds: float) -> BodyReader:
    """Return the function that reads a body within its size and time limits, while the client sends it."""

    async def read(limit: int) -> bytes:
        collecting = asyncio.ensure_future(_collect(body, limit))
        either: set[asyncio.Future[Any]] = {collecting, gone}
        try:
            done, _ = await asyncio.wait(either, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not collecting.done():
                collecting.cancel()
        if collecting in done:
            return collecting.result()
        raise ClientAborted if gone in done else RequestTimeout

    return read


async def _collect(body: Body, limit: int) -> bytes:
    """Read the body to its end and count its size. Quart's versions raise different errors at different times."""
    collected = bytearray()
    too_large = PayloadTooLarge(f"a body has at most {limit} bytes")
    try:
        async for chunk in body:
            collected += chunk
            if len(collected) > limit:
                raise too_large
    except RequestEntityTooLarge:
        raise too_large from None
    except VaultError:
        raise
    except Exception as error:
        raise ClientAborted from error
    return bytes(collected)


def _response(reply: Reply, *, is_head: bool) -> Response:
    body: Any = reply.body if isinstance(reply.body, bytes) else _pieces(reply.body)
    response = Response(b"" if is_head else body, reply.status, Headers(reply.headers), content_type=reply.content_type)
    response.timeout = None
    if reply.content_type is None:
        response.headers.pop("Content-Type", None)
    # # GET's length is not known here, and no length is better than a wrong one (RFC 9110, section 9.3.2)
    if is_head or reply.status == NOT_MODIFIED:
        response.headers.pop("Content-Length", None)
    return response


async def _pieces(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in stream:
        yield piece


@asynccontextmanager
async def already_open(vault: Vault) -> AsyncIterator[Vault]:
    """Serve a vault that the caller has opened and will close."""
    yield vault
