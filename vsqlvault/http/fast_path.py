"""The fast path for ``/vault/{purpose}/{id}``: the same operations as Quart's routes, without Quart's contexts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vsqlvault.errors import ClientAborted, PayloadTooLarge, RequestTimeout
from vsqlvault.http.messages import BodyReader, Reply, Request, decode_headers
from vsqlvault.http.operation import Operation
from vsqlvault.model.ids import new_id

if TYPE_CHECKING:
    from vsqlvault.http.app import Adapter

_ENTRY = re.compile(rb"/vault/([a-z0-9_-]+)/([A-Za-z0-9._:@~-]+)")
PATH = "/vault/{purpose}/{external_id}"
NOT_MODIFIED = 304
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class FastPath:
    """Serves requests for entries, and forwards all other requests.

    It is an ASGI application for any server. The vault's own connections call ``find`` and ``answer`` directly, without
    ASGI messages.
    """

    def __init__(self, asgi_app: Asgi, adapter: Adapter, body_timeout_seconds: float) -> None:
        self._asgi_app = asgi_app
        self._adapter = adapter
        self._body_timeout_seconds = body_timeout_seconds
        self._operations: Mapping[str, Operation] = adapter.routes()[PATH]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve or forward an ASGI call."""
        if scope["type"] == "http" and (found := self.find(scope["method"], raw_path_of(scope))):
            operation, params = found
            request = request_of(scope, params, self.reader(receive))
            reply = await self._adapter.answer(request, operation)
            await send({"type": "http.response.start", "status": reply.status, "headers": wire_headers(reply, request)})
            await send({"type": "http.response.body", "body": wire_body(reply, request), "more_body": False})
            return
        await self._asgi_app(scope, receive, send)

    def find(self, method: str, raw_path: bytes) -> tuple[Operation, Mapping[str, str]] | None:
        """Return the operation and its parameters, if the request is one for an entry."""
        operation = self._operations.get(method)
        match = _ENTRY.fullmatch(raw_path) if operation else None
        if operation is None or match is None:
            return None
        purpose, external_id = match.groups()
        return operation, {"purpose": purpose.decode("ascii"), "external_id": external_id.decode("ascii")}

    def answer(self, request: Request, operation: Operation) -> Awaitable[Reply]:
        """Answer a request of one of the vault's own connections, which never cancel."""
        return self._adapter.dispatcher.answer(request, operation)

    def reader(self, receive: Any) -> BodyReader:
        """Return the function that reads a body within its size and time limits, while the client sends it."""

        async def read(limit: int) -> bytes:
            collected = bytearray()
            try:
                async with asyncio.timeout(self._body_timeout_seconds):
                    while True:
                        message = await receive()
                        if message["type"] != "http.request":
                            raise ClientAborted
                        collected += message.get("body", b"")
                        if len(collected) > limit:
                            raise PayloadTooLarge(f"a body has at most {limit} bytes")
                        if not message.get("more_body", False):
                            return bytes(collected)
            except TimeoutError:
                raise RequestTimeout from None

        return read


def raw_path_of(scope: Any) -> bytes:
    """Return the path as it was sent, without the query string that some servers append."""
    raw_path: bytes | None = scope.get("raw_path")
    if raw_path is None:
        raw_path = scope["path"].encode("utf-8")
    return raw_path.partition(b"?")[0]


def request_of(scope: Any, params: Mapping[str, str], read_body: BodyReader) -> Request:
    """Return the request of an ASGI scope.

    Raises:
        InvalidHeader: a header's name is not ASCII.
    """
    client = scope.get("client")
    tls = (scope.get("extensions") or {}).get("tls") or {}
    return Request(
        method=scope["method"],
        raw_path=raw_path_of(scope),
        raw_query=scope["query_string"],
        headers=decode_headers(scope["headers"]),
        peer=client[0] if client else None,
        secure=scope["scheme"] == "https",
        request_id=new_id(),
        read_body=read_body,
        params=params,
        http_version=scope.get("http_version", "1.1"),
        client_certificate=tls.get("client_certificate"),
        certificate_fault=tls.get("certificate_fault"),
    )


def wire_headers(reply: Reply, request: Request) -> list[tuple[bytes, bytes]]:
    """Return the header fields of a reply without a stream."""
    headers = [(_field_name(name), value.encode("latin-1")) for name, value in reply.headers]
    if reply.content_type is not None:
        headers.append((b"content-type", reply.content_type.encode("latin-1")))
    if (
        request.method != "HEAD" and reply.status != NOT_MODIFIED
    ):  # GET's length is not known here, and no length is better than a wrong one (RFC 9110, 9.3.2)
        headers.append((b"content-length", b"%d" % len(wire_body(reply, request))))
    return headers


def wire_body(reply: Reply, request: Request) -> bytes:
    """Return the body to send with a reply without a stream."""
    return b"" if request.method == "HEAD" or not isinstance(reply.body, bytes) else reply.body


@lru_cache(maxsize=64)
def _field_name(name: str) -> bytes:
    return name.lower().encode("ascii")
