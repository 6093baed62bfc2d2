"""The header section of an HTTP/2 request, checked by RFC 9113 and by the limits of HTTP/1.1."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vsqlvault.errors import BadFraming, ExpectationFailed, HeadTooLarge, UpgradeRefused
from vsqlvault.http.server.framing import HUGE, MAX_FIELDS, MAX_HEAD_BYTES
from vsqlvault.quick_dataclass import dataclass

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+")
_AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority", b":protocol"})
_CONNECTION_FIELDS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_LINE_BYTES = 4  # ": " and CR LF, which a field has in HTTP/1.1


@dataclass(frozen=True, slots=True)
class Http2Head:
    """A request without its body. ``target`` is the path as sent; CONNECT has its authority there."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    length: int | None
    awaits_continue: bool


def read_http2_head(section: Iterable[tuple[bytes, bytes]]) -> Http2Head:
    """Return the head of a decoded header section, with ``host`` among its headers.

    Raises:
        HeadTooLarge: more than MAX_HEAD_BYTES or MAX_FIELDS.
        BadFraming: malformed by RFC 9113, section 8.
        UpgradeRefused: an extended CONNECT (RFC 8441). ExpectationFailed.
    """
    pseudo, headers = _split(section)
    method, authority = pseudo.get(b":method", b""), pseudo.get(b":authority")
    if not _METHOD.fullmatch(method):
        raise BadFraming("one :method")
    if b":protocol" in pseudo:
        raise UpgradeRefused
    target = _target(pseudo, is_connect=method == b"CONNECT")
    hosts = [value for name, value in headers if name == b"host"]
    if authority is None and not hosts:
        raise BadFraming("one :authority or host")
    named = authority if authority is not None else hosts[0]
    if len(hosts) > 1 or any(host.lower() != named.lower() for host in hosts):
        raise BadFraming("one host, the same as :authority")
    if named and not _AUTHORITY.fullmatch(named):
        raise BadFraming("an :authority of host and port")
    if not hosts:
        headers.insert(0, (b"host", named))
    length, awaits_continue = _body(headers)
    return Http2Head(method.decode("ascii"), target, tuple(headers), length, awaits_continue)


def _split(section: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]]]:
    fields = [(bytes(name), bytes(value)) for name, value in section]
    if len(fields) > MAX_FIELDS + len(_PSEUDO):
        raise HeadTooLarge(f"at most {MAX_FIELDS} fields")
    if sum(len(name) + len(value) + _LINE_BYTES for name, value in fields) > MAX_HEAD_BYTES:
        raise HeadTooLarge(f"at most {MAX_HEAD_BYTES} bytes")
    pseudo: dict[bytes, bytes] = {}
    headers: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        if name.startswith(b":"):
            if headers or name in pseudo or name not in _PSEUDO:
                raise BadFraming("each pseudo-header once, before the fields")
            pseudo[name] = value
            continue
        _check_field(name, value)
        headers.append((name, value))
    if len(headers) > MAX_FIELDS:
        raise HeadTooLarge(f"at most {MAX_FIELDS} fields")
    return pseudo, headers


def _check_field(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadFraming("fields of lower-case names and printable values")
    if name in _CONNECTION_FIELDS or (name == b"te" and value.lower() != b"trailers"):
        raise BadFraming("no field that concerns the connection")


def _target(pseudo: dict[bytes, bytes], *, is_connect: bool) -> bytes:
    path = pseudo.get(b":path")
    if is_connect:
        if path is not None or b":scheme" in pseudo:
            raise BadFraming("CONNECT with :authority alone")
        return pseudo.get(b":authority", b"") or b"*"
    if pseudo.get(b":scheme", b"").lower() not in {b"http", b"https"} or not path or not _TARGET.fullmatch(path):
        raise BadFraming("one :scheme and one :path")
    return path


def _body(headers: list[tuple[bytes, bytes]]) -> tuple[int | None, bool]:
    """Return the length in the header, if any, and whether the client waits before it sends the body."""
    lengths = [value for name, value in headers if name == b"content-length"]
    if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
        raise BadFraming("one Content-Length, in digits")
    expectation = b",".join(value for name, value in headers if name == b"expect").lower()
    if expectation not in {b"", b"100-continue"}:
        raise ExpectationFailed
    length = (int(lengths[0]) if _LENGTH.fullmatch(lengths[0]) else HUGE) if lengths else None
    return length, expectation == b"100-continue"
