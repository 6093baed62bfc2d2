"""Heads that are no requests: for the parser alone, and for the whole server."""

from __future__ import annotations

from vsqlvault.errors import (
    BadFraming,
    ExpectationFailed,
    HeadTooLarge,
    TransferCodingUnknown,
    UpgradeRefused,
    VaultError,
)


def head(*lines: bytes, start: bytes = b"PUT /vault/card/a HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: localhost", *lines, b"", b""])


REFUSED: dict[str, tuple[bytes, type[VaultError]]] = {
    "a length and chunks": (head(b"Content-Length: 5", b"Transfer-Encoding: chunked"), BadFraming),
    "two lengths": (head(b"Content-Length: 5", b"Content-Length: 6"), BadFraming),
    "one length twice": (head(b"Content-Length: 5", b"Content-Length: 5"), BadFraming),
    "a list of lengths": (head(b"Content-Length: 5, 5"), BadFraming),
    "a length with a sign": (head(b"Content-Length: +5"), BadFraming),
    "a negative length": (head(b"Content-Length: -1"), BadFraming),
    "a length in hexadecimal": (head(b"Content-Length: 0x5"), BadFraming),
    "an empty length": (head(b"Content-Length:"), BadFraming),
    "a length in other digits": (head(b"Content-Length: \xd9\xa3"), BadFraming),
    "chunks in HTTP/1.0": (head(b"Transfer-Encoding: chunked", start=b"PUT / HTTP/1.0"), BadFraming),
    "another coding": (head(b"Transfer-Encoding: gzip, chunked"), TransferCodingUnknown),
    "identity": (head(b"Transfer-Encoding: identity"), TransferCodingUnknown),
    "chunked twice": (head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), TransferCodingUnknown),
    "a vertical tab before chunked": (head(b"Transfer-Encoding: \x0bchunked"), BadFraming),
    "a blank before the colon": (head(b"Transfer-Encoding : chunked"), BadFraming),
    "a folded line": (head(b"X-A: a", b" b"), BadFraming),
    "a bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", BadFraming),
    "a bare LF in a field": (head(b"X-A: a\nX-B: b"), BadFraming),
    "a bare CR": (head(b"X-A: a\rb"), BadFraming),
    "NUL": (head(b"X-A: a\x00"), BadFraming),
    "two hosts": (head(b"Host: other"), BadFraming),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", BadFraming),
    "a host with a blank": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BadFraming),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadFraming),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: u@b\r\n\r\n", BadFraming),
    "HTTP/0.9": (b"GET /\r\n\r\n", BadFraming),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\n", BadFraming),
    "a blank before the method": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", BadFraming),
    "two blanks": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BadFraming),
    "a field without a name": (head(b": a"), BadFraming),
    "no field": (head(b"nothing"), BadFraming),
    "101 fields": (head(*[b"X-%d: a" % number for number in range(100)]), HeadTooLarge),
    "another expectation": (head(b"Expect: 200-ok"), ExpectationFailed),
    "a WebSocket": (head(b"Connection: Upgrade", b"Upgrade: WebSocket"), UpgradeRefused),
    "a WebSocket among others": (head(b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: websocket"), UpgradeRefused),
}
