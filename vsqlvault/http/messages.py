"""Requests and replies, independent of any framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote_to_bytes

from vsqlvault.errors import DuplicateHeader, FieldError, InvalidHeader, InvalidQuery, PayloadTooLarge, RequestTimeout
from vsqlvault.http.server.client_certificates import ClientCertificate
from vsqlvault.http.server.framing import first_of_each
from vsqlvault.http.server.state import Answer
from vsqlvault.model.text import shown_name
from vsqlvault.quick_dataclass import dataclass

BodyReader = Callable[[int], Awaitable[bytes]]
_SINGLE_HEADERS = frozenset(
    {"authorization", "content-type", "content-length", "content-encoding", "host", "if-match", "if-none-match"}
)


@dataclass(slots=True)
class Request:
    """A request. ``headers`` have lower-case names. ``read_body(limit)`` returns the whole body or raises.

    ``by_name`` is the first value of each header, if it is already known.

    ``peer`` is the peer's address without a port, or None on a Unix socket. ``client_certificate`` is
    the peer's certificate from the TLS handshake, even if the peer is a proxy. ``certificate_fault`` is the reason why
    it is no longer valid.

    ``memo`` keeps what was derived from the headers while the requests of one connection repeat them. ``is_plain``: the
    path and its parameters match their grammar. ``viewer`` has the ``caller`` and the ``csrf`` token of a browser session,
    for error pages.
    """

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Sequence[tuple[str, str]]
    peer: str | None
    secure: bool
    request_id: str
    read_body: BodyReader
    params: Mapping[str, str] = field(default_factory=dict)
    http_version: str = "1.1"
    client_certificate: ClientCertificate | None = None
    certificate_fault: str | None = None
    by_name: Mapping[str, str] = field(default_factory=dict)
    is_admin: bool = False
    memo: dict[str, Any] = field(default_factory=dict)
    is_plain: bool = False
    viewer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.headers and not self.by_name:
            self.by_name = first_of_each(self.headers)

    def header(self, name: str) -> str | None:
        """Return the value of a header that may occur once."""
        return self.by_name.get(name)

    def check_single(self, credential_headers: frozenset[str], *, others: bool = True) -> None:
        """Check that headers that may occur once do. ``others``: also check headers that are not credentials.

        Raises:
            DuplicateHeader: one occurs twice.
        """
        if len(self.by_name) != len(self.headers):
            once = credential_headers | _SINGLE_HEADERS if others else credential_headers
            seen: set[str] = set()
            for name, _ in self.headers:
                if name in seen and name in once:
                    raise DuplicateHeader(name)
                seen.add(name)

    def query(self) -> dict[str, str]:
        """Return the members of the query string. ``+`` is literal, as in RFC 3986, so that times need no escaping.

        Raises:
            InvalidQuery: it is not UTF-8, or has a duplicate name.
        """
        members: dict[str, str] = {}
        for part in self.raw_query.split(b"&") if self.raw_query else ():
            try:
                name, _, value = (unquote_to_bytes(piece).decode("utf-8") for piece in _halves(part))
            except UnicodeDecodeError:
                raise InvalidQuery("expected UTF-8") from None
            if not name:
                raise InvalidQuery("each member needs a name")
            if name in members:
                raise InvalidQuery(errors=[FieldError(shown_name(name), "one member of this name")])
            members[name] = value
        return members


def _halves(part: bytes) -> tuple[bytes, bytes, bytes]:
    return part.partition(b"=")


@dataclass(slots=True)
class Reply:
    """A reply: a body in one piece, or a stream of pieces."""

    status: int
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str | None = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


def default_headers(request_id: str) -> tuple[tuple[str, str], ...]:
    """Return the header fields of every reply."""
    return ("X-Request-Id", request_id), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")


NOT_MODIFIED = 304


def answer_of(reply: Reply, *, is_head: bool) -> Answer:
    """Return a reply that is no stream as a response. Every adapter writes its header fields from this.

    A response to HEAD has no length: GET's is not known here, and none is better than a wrong one (RFC 9110, 9.3.2).
    """
    fields = [(name.lower(), value) for name, value in reply.headers]
    if reply.content_type is not None:
        fields.append(("content-type", reply.content_type))
    body = reply.body if isinstance(reply.body, bytes) else b""
    if is_head:
        return Answer(reply.status, fields, b"")
    if reply.status != NOT_MODIFIED:
        fields.append(("content-length", str(len(body))))
    return Answer(reply.status, fields, body)


def fields_of(reply: Reply) -> list[tuple[str, str]]:
    """Return the header fields of a reply, without its length."""
    return answer_of(reply, is_head=True).fields


async def collect_body(pieces: AsyncIterator[bytes], limit: int, timeout_seconds: float) -> bytes:
    """Return a body from its pieces, within its size and time limits. Every adapter reads bodies by this.

    Raises:
        PayloadTooLarge, RequestTimeout, and what ``pieces`` raises.
    """
    collected = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            async for piece in pieces:
                collected += piece
                if len(collected) > limit:
                    raise PayloadTooLarge(f"a body has at most {limit} bytes")
    except TimeoutError:
        raise RequestTimeout from None
    return bytes(collected)


@lru_cache(maxsize=4096)
def is_loopback(address: str | None) -> bool:
    """Whether a peer's address is on this machine. A Unix socket's is."""
    if address is None:
        return True
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def decode_headers(pairs: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return header names in lower case and values as text, byte by byte.

    Raises:
        InvalidHeader: a name is not ASCII.
    """
    try:
        return [(name.decode("ascii").lower(), value.decode("latin-1")) for name, value in pairs]
    except UnicodeDecodeError:
        raise InvalidHeader from None
