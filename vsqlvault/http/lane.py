"""The short way for ``/vault/{purpose}/{id}``: the same operations as Quart's routes, without Quart's contexts."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vsqlvault.errors import ClientAborted, PayloadTooLarge, RequestTimeout
from vsqlvault.http.exchange import BodyReader, Reply, Request, decode_headers
from vsqlvault.http.operation import Operation

if TYPE_CHECKING:
    from vsqlvault.http.app import Adapter

_ENTRY = re.compile(rb"/vault/(?P<purpose>[a-z0-9_-]+)/(?P<external_id>[A-Za-z0-9._:@~-]+)")
PATH = "/vault/{purpose}/{external_id}"
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class Lane:
    """Serves what is plainly a request for an entry, and passes on everything else."""

    def __init__(self, asgi_app: Asgi, adapter: Adapter, body_timeout_seconds: float) -> None:
        self._asgi_app = asgi_app
        self._adapter = adapter
        self._body_timeout_seconds = body_timeout_seconds
        self._operations: Mapping[str, Operation] = adapter.routes()[PATH]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve an ASGI call, here or further on."""
        if scope["type"] == "http" and (operation := self._operations.get(scope["method"])):
            entry = _ENTRY.fullmatch(raw_path_of(scope))
            if entry is not None:
                params = {name: value.decode("ascii") for name, value in entry.groupdict().items()}
                request = request_of(scope, params, self._reader(receive))
                reply = await self._adapter.answer(request, operation, scope)
                await send_reply(reply, send, is_head=request.method == "HEAD")
                return
        await self._asgi_app(scope, receive, send)

    def _reader(self, receive: Any) -> BodyReader:
        """Return the function that reads a body: counted as it comes, within a time, and only while somebody sends it."""

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
    """Return the path as it was sent, without the query string that some servers leave on it."""
    raw_path: bytes | None = scope.get("raw_path")
    if raw_path is None:
        raw_path = scope["path"].encode("utf-8")
    return raw_path.partition(b"?")[0]


def request_of(scope: Any, params: Mapping[str, str], read_body: BodyReader) -> Request:
    """Return the request that an ASGI scope tells of.

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
        request_id=secrets.token_hex(16),
        read_body=read_body,
        params=params,
        http_version=scope.get("http_version", "1.1"),
        client_certificate=tls.get("client_certificate"),
        certificate_fault=tls.get("certificate_fault"),
    )


async def send_reply(reply: Reply, send: Any, *, is_head: bool) -> None:
    """Send a reply that is in one piece."""
    body = reply.body if isinstance(reply.body, bytes) else b""
    headers = [(_field_name(name), value.encode("latin-1")) for name, value in reply.headers]
    if reply.content_type is not None:
        headers.append((b"content-type", reply.content_type.encode("latin-1")))
    if not is_head:  # GET's length is not known here, and none is better than a wrong one (RFC 9110, section 9.3.2)
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body, "more_body": False})


@lru_cache(maxsize=64)
def _field_name(name: str) -> bytes:
    return name.lower().encode("ascii")
