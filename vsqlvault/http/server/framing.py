"""Parses HTTP/1.1 messages, heads and chunks, strictly by RFC 9112.

Where the RFC allows a recipient to be lenient, this parser rejects. Two parties that are lenient in different ways
cause request smuggling. Every other parser reads accepted messages in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Any, NamedTuple

from vsqlvault.errors import BadFraming, ExpectationFailed, HeadTooLarge, TransferCodingUnknown, UpgradeRefused
from vsqlvault.quick_dataclass import dataclass

MAX_HEAD_BYTES = 16 * 1024
MAX_FIELDS = 100
MAX_KEPT_BYTES = 2 * 1024
"""Larger fields are parsed on each request, so that many connections do not keep many large heads."""

MAX_CHUNK_LINE_BYTES = 256
MAX_TRAILER_BYTES = 4 * 1024
HUGE = 10**18
"""Represents every longer Content-Length. It is rejected for its size in any case."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.(?=[01]\r\n)")
_VERSION_AND_FIELDS = re.compile(rb"([01])\r\n((?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n")
_FIELD = re.compile(rb"([^:\r\n]+):([^\r\n]*)\r\n")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]+")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e]*)?\r\n")
_TRAILERS = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
_LONGEST_LENGTH = 18
_PLAIN = frozenset({b"content-length", b"host", b"transfer-encoding"})
_FRAMING = _PLAIN | {b"connection", b"expect", b"upgrade"}


@dataclass(frozen=True, slots=True)
class Fields:
    """A head without its request line. ``minor_version`` is that of HTTP/1.

    ``headers`` have lower-case names and values without surrounding spaces. ``texts`` are the same, byte for byte, as
    text, and ``by_name`` is the first value of each. ``length`` is the body's length in bytes, or None for a chunked
    body. ``persists``: the client may send another request. ``awaits_continue``: it waits for a 100 before it sends the
    body.
    """

    minor_version: int
    headers: tuple[tuple[bytes, bytes], ...]
    texts: tuple[tuple[str, str], ...]
    by_name: Mapping[str, str]
    length: int | None
    persists: bool
    awaits_continue: bool
    memo: dict[str, Any] = field(default_factory=dict, compare=False)
    """What the application derives from the fields, kept while a client repeats them."""


class Head(NamedTuple):
    """The head of a request."""

    method: str
    target: bytes
    fields: Fields


def has_stray_line_end(head: bytes | bytearray) -> bool:
    """Whether a line ends with anything but CR LF, so that the end of such a head need not be awaited.

    A CR at the end may still be followed by its LF.
    """
    pairs = head.count(b"\r\n")
    return head.count(b"\n") != pairs or head.count(b"\r") != pairs + head.endswith(b"\r")


class HeadReader:
    """Parses the heads of one connection.

    A client's next request usually has the same fields, byte for byte. These are not parsed again.
    """

    def __init__(self) -> None:
        self._block = b""
        self._fields: Fields | None = None

    def read(self, head: bytes) -> Head:
        """Return the head of one request, including the empty line at its end. Raises the errors of ``parse_head``."""
        match = _REQUEST_LINE.match(head)
        if match is None:
            raise BadFraming
        method, target = match.groups()
        block = head[match.end() :]
        fields = self._fields
        if fields is None or block != self._block:
            fields = parse_fields(block)
            if len(block) <= MAX_KEPT_BYTES:
                self._block, self._fields = block, fields
        return Head(method.decode("ascii"), target, fields)


def parse_head(head: bytes) -> Head:
    """Return the head of one request, including the empty line at its end.

    Raises:
        BadFraming: it is malformed, or its message length is ambiguous.
        HeadTooLarge: it has too many fields. TransferCodingUnknown, ExpectationFailed, UpgradeRefused.
    """
    return HeadReader().read(head)


def parse_fields(block: bytes) -> Fields:
    """Parse the part of a head after ``HTTP/1.``. Raises the errors of ``parse_head``."""
    match = _VERSION_AND_FIELDS.fullmatch(block)
    if match is None:
        raise BadFraming
    minor_version = int(match[1])
    headers: list[tuple[bytes, bytes]] = []
    framing: dict[bytes, list[bytes]] = {}
    for raw_name, raw_value in _FIELD.findall(match[2]):
        name, value = raw_name.lower(), raw_value.strip(b" \t")
        headers.append((name, value))
        if name in _FRAMING:
            framing.setdefault(name, []).append(value)
    if len(headers) > MAX_FIELDS:
        raise HeadTooLarge(f"at most {MAX_FIELDS} fields")
    _check_host(framing.get(b"host"), minor_version)
    length = _body_length(framing, minor_version)
    persists, awaits_continue = minor_version == 1, False
    if not framing.keys() <= _PLAIN:
        persists, awaits_continue = _intentions(framing, minor_version)
    texts = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in headers)
    return Fields(minor_version, tuple(headers), texts, first_of_each(texts), length, persists, awaits_continue)


def first_of_each(headers: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Return the first value of each header, as a read-only view."""
    return MappingProxyType(dict(reversed(headers)))


def _intentions(framing: Mapping[bytes, list[bytes]], minor_version: int) -> tuple[bool, bool]:
    """Return whether the client may send another request, and whether it waits before it sends the body."""
    if b"websocket" in _listed(framing, b"upgrade"):
        raise UpgradeRefused
    expectation = _listed(framing, b"expect")
    if expectation not in {b"", b"100-continue"}:
        raise ExpectationFailed
    options = {option.strip(b" \t") for option in _listed(framing, b"connection").split(b",")}
    persists = b"close" not in options and (minor_version == 1 or b"keep-alive" in options)
    return persists, expectation == b"100-continue" and minor_version == 1


def _listed(framing: Mapping[bytes, list[bytes]], name: bytes) -> bytes:
    """Return the values of a header as one list, as RFC 9110 defines, in lower case."""
    return b",".join(framing[name]).lower() if name in framing else b""


def _check_host(hosts: list[bytes] | None, minor_version: int) -> None:
    if hosts is None:
        if minor_version:
            raise BadFraming("one Host")
    elif len(hosts) > 1 or (hosts[0] and not _HOST.fullmatch(hosts[0])):
        raise BadFraming("one Host")


def _body_length(framing: Mapping[bytes, list[bytes]], minor_version: int) -> int | None:
    codings = framing.get(b"transfer-encoding")
    lengths = framing.get(b"content-length")
    if codings:
        if lengths or minor_version == 0:
            raise BadFraming("a body has a length or is chunked")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise TransferCodingUnknown
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadFraming("one Content-Length, in digits")
    return int(lengths[0]) if len(lengths[0]) <= _LONGEST_LENGTH else HUGE


class ChunkedBody:
    """Decodes a chunked body as it arrives."""

    def __init__(self) -> None:
        self._left = 0
        self._in_data = False
        self._ends = False
        self.is_complete = False

    def take(self, buffer: bytearray) -> bytes:
        """Remove complete parts from the front of ``buffer``, and return their body bytes.

        Trailers are parsed and ignored. What follows the body stays in the buffer.

        Raises:
            BadFraming: invalid chunks.
        """
        taken = bytearray()
        while buffer and not self.is_complete:
            if self._ends:
                self._take_trailers(buffer)
                break
            if not self._in_data and not self._take_size(buffer):
                break
            if self._in_data and not self._take_data(buffer, taken):
                break
        return bytes(taken)

    def _take_size(self, buffer: bytearray) -> bool:
        end = buffer.find(b"\n", 0, MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(buffer) >= MAX_CHUNK_LINE_BYTES:
                raise BadFraming("a line of a chunk is short")
            if b"\r" in buffer[:-1]:
                raise BadFraming("a line of a chunk ends with CR LF")
            return False
        match = _CHUNK.fullmatch(buffer, 0, end + 1)
        if match is None:
            raise BadFraming("a chunk starts with its size")
        size = int(match[1], 16)
        del match  # a memoryview would prevent resizing the buffer
        del buffer[: end + 1]
        self._left, self._in_data, self._ends = size, size > 0, size == 0
        return True

    def _take_data(self, buffer: bytearray, taken: bytearray) -> bool:
        if self._left:
            part = buffer[: self._left]
            del buffer[: self._left]
            taken += part
            self._left -= len(part)
        if self._left or len(buffer) < len(b"\r\n"):
            return False
        if not buffer.startswith(b"\r\n"):
            raise BadFraming("a chunk is as long as it says")
        del buffer[:2]
        self._in_data = False
        return True

    def _take_trailers(self, buffer: bytearray) -> None:
        end = 0 if buffer.startswith(b"\r\n") else buffer.find(b"\r\n\r\n") + 2
        if end == 1:
            if len(buffer) > MAX_TRAILER_BYTES or has_stray_line_end(buffer):
                raise BadFraming("trailers are short")
            return
        trailers = bytes(buffer[: end + 2])
        if len(trailers) > MAX_TRAILER_BYTES or not _TRAILERS.fullmatch(trailers):
            raise BadFraming("trailers are fields")
        del buffer[: end + 2]
        self.is_complete = True
