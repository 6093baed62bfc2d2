"""A client of a few lines: it sends exactly the given bytes, and reads one response per connection."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.support.described import faults_of

SECONDS = 20.0
Headers = Mapping[str, str] | Iterable[tuple[str, str]]
PROBLEM = "urn:vsqlvault:problem:"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:300]!r}>"

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) <= 1, f"{name} stands {len(found)} times"
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def slug(self) -> str | None:
        """The problem's slug, or None where there is no problem document."""
        if self.header("content-type") != "application/problem+json" or not self.body:
            return None
        return str(self.json["type"]).removeprefix(PROBLEM)

    @property
    def request_id(self) -> str:
        found = self.header("x-request-id")
        assert found is not None
        return found


def request_bytes(
    method: str,
    target: str | bytes,
    *,
    headers: Headers = (),
    body: bytes | None = None,
    host: str = "localhost",
) -> bytes:
    """Return a request as it stands on the wire; nothing in it is checked, escaped or completed but the framing."""
    path = target if isinstance(target, bytes) else target.encode("utf-8")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in pairs}
    lines = [method.encode("latin-1") + b" " + path + b" HTTP/1.1", b"Host: " + host.encode("ascii")]
    lines += [name.encode("latin-1") + b": " + value.encode("latin-1") for name, value in pairs]
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(b"Content-Length: " + str(len(body)).encode("ascii"))
    if "connection" not in names:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def read_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """Read one answer; raises where the server hung up without one, or was too slow."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Answer(response.status, tuple(response.getheaders()), response.read())
    finally:
        response.close()


def connected(address: tuple[str, int], seconds: float = SECONDS, tls: ssl.SSLContext | None = None) -> socket.socket:
    """Return a new connection, after its handshake where there is TLS."""
    connection = socket.create_connection(address, timeout=seconds)
    if tls is None:
        return connection
    try:
        return tls.wrap_socket(connection, server_hostname="localhost")
    except BaseException:
        connection.close()
        raise


def exchange(
    address: tuple[str, int],
    raw: bytes,
    *,
    method: str = "GET",
    seconds: float = SECONDS,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send bytes on a new connection and read the answer, also where the server answers before it has read them all."""
    with connected(address, seconds, tls) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(raw)
        answer = read_answer(connection, method)
    assert not (faults := faults_of(raw, answer.status, answer.headers, answer.body)), faults
    return answer
