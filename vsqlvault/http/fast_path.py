"""The fast path for ``/vault/{purpose}/{id}``: the same operations as Quart's routes, without Quart's contexts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from vsqlvault.errors import ClientAborted
from vsqlvault.http.messages import BodyReader, Reply, Request, answer_of, collect_body, decode_headers
from vsqlvault.http.operation import Operation
from vsqlvault.http.routing import Router
from vsqlvault.http.server.framing import Head
from vsqlvault.http.server.state import Peer
from vsqlvault.model.ids import new_id

Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Found = tuple[Operation, Mapping[str, str]]


class Answering(Protocol):
    """Answers requests."""

    def answer(self, request: Request, operation: Operation) -> Awaitable[Reply]:
        """Return the reply."""


class FastPath:
    """Serves requests for entries, and forwards all other requests.

    It is an ASGI application for any server. The vault's own connections call ``find``, ``start`` and ``finish``, which do
    the same without ASGI messages. ``shielded`` answers the requests of other servers, which may cancel them.
    """

    def __init__(
        self,
        asgi_app: Asgi,
        router: Router,
        shielded: Answering,
        body_timeout_seconds: float,
    ) -> None:
        self._asgi_app = asgi_app
        self._direct = shielded
        self._shielded = shielded
        self._body_timeout_seconds = body_timeout_seconds
        self.find = router.entry

    def use(self, direct: Answering) -> None:
        """Set what answers the requests of the vault's own connections, which are never cancelled."""
        self._direct = direct

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve or forward an ASGI call."""
        if scope["type"] == "http" and (found := self.find(scope["method"], raw_path_of(scope))):
            operation, params = found
            request = request_of(scope, params, lambda limit: self.read_pieces(receive, limit))
            request.is_plain = True
            reply = await self._shielded.answer(request, operation)
            status, fields, body = answer_of(reply, is_head=request.method == "HEAD")
            headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})
            return
        await self._asgi_app(scope, receive, send)

    def start(
        self, found: Found, head: Head, path: bytes, query: bytes, peer: Peer, fault: str | None, read_body: BodyReader
    ) -> Awaitable[Reply]:
        """See ``Handler.start``."""
        operation, params = found
        fields = head.fields
        request = Request(
            method=head.method,
            raw_path=path,
            raw_query=query,
            headers=fields.texts,
            peer=peer.address,
            secure=peer.is_secure,
            request_id=new_id(),
            read_body=read_body,
            params=params,
            http_version="1.1" if fields.minor_version else "1.0",
            client_certificate=peer.certificate,
            certificate_fault=fault,
            by_name=fields.by_name,
            memo=fields.memo,
            is_plain=True,
        )
        return self._direct.answer(request, operation)

    finish = staticmethod(answer_of)
    """See ``Handler.finish``."""

    async def read_pieces(self, receive: Callable[[], Awaitable[Any]], limit: int) -> bytes:
        """See ``Handler.read_pieces``."""
        return await collect_body(pieces_of(receive), limit, self._body_timeout_seconds)


async def pieces_of(receive: Callable[[], Awaitable[Any]]) -> AsyncIterator[bytes]:
    """Yield the parts of a body that arrives as ASGI messages. Raises ClientAborted."""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientAborted
        more = message.get("more_body", False)
        yield message.get("body", b"")


def raw_path_of(scope: Any) -> bytes:
    """Return the path as it was sent, without the query string that some servers leave on it."""
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
