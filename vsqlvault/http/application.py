"""The application without a framework: its routes, and its vault while it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vsqlvault.config import Settings
from vsqlvault.errors import VaultError
from vsqlvault.http.cursors import Cursors
from vsqlvault.http.description.docs_page import CONTENT_SECURITY_POLICY, docs_page
from vsqlvault.http.description.openapi import build_openapi
from vsqlvault.http.dispatcher import Dispatcher
from vsqlvault.http.forwarding import Forwarding
from vsqlvault.http.messages import Reply, Request
from vsqlvault.http.metrics import Metrics
from vsqlvault.http.operation import Operation, RequestContext, also_head
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.http.operations.plugin_pages import page_operations
from vsqlvault.http.operations.probes import probes
from vsqlvault.http.routing import Router
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.results.service import OpenApi
from vsqlvault.http.server.state import Counts
from vsqlvault.http.sessions import Sessions
from vsqlvault.service.tasks import PeriodicTask, running
from vsqlvault.service.vault import Vault

if TYPE_CHECKING:
    from vsqlvault.http.metrics.workers import Share

PUBLISH_SECONDS = 1.0


class Application:
    """Answers the requests of every adapter. ``begin``, then ``prepare``, then requests, then ``end``.

    ``counts`` are the server's connection counts, for metrics. ``share`` is the shared memory of several workers.
    ``forwarding`` is reloaded on SIGHUP.
    """

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

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher, once ``prepare`` is done."""
        if self._dispatcher is None:
            raise RuntimeError("not serving yet")
        return self._dispatcher

    async def answer(self, request: Request, operation: Operation | None, refusal: VaultError | None = None) -> Reply:
        """Answer a request even if the client disconnects meanwhile, which some servers signal by cancellation."""
        if self._vault is None:
            raise RuntimeError("not serving yet")
        return await self._vault.audit.recorder.shielded(self.dispatcher.answer(request, operation, refusal))

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
            *probes(lambda: self._counts.is_ending),
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


@asynccontextmanager
async def already_open(vault: Vault) -> AsyncIterator[Vault]:
    """Serve a vault that the caller has opened and will close."""
    yield vault
