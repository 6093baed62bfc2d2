"""HTTP/1.1 messages, cut out of bytes: heads and chunks, by RFC 9112 and nothing more lenient.

Where the RFC lets a recipient forgive, this one refuses: two parties that forgive differently are how one request becomes
two. What is accepted here, every other parser reads alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vsqlvault.errors import BadFraming, ExpectationFailed, HeadTooLarge, TransferCodingUnknown, UpgradeRefused

MAX_HEAD_BYTES = 16 * 1024
MAX_FIELDS = 100
MAX_CHUNK_LINE_BYTES = 256
MAX_TRAILER_BYTES = 4 * 1024
HUGE = 10**18
"""Stands for every Content-Length that is longer: it is refused for its size all the same."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEAD = re.compile(
    rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])\r\n"
    rb"((?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
_FIELD = re.compile(rb"([^:\r\n]+):([^\r\n]*)\r\n")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]+")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e]*)?\r\n")
_TRAILERS = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
_LONGEST_LENGTH = 18
_PLAIN = frozenset({b"content-length", b"host", b"transfer-encoding"})
_FRAMING = _PLAIN | {b"connection", b"expect", b"upgrade"}


@dataclass(slots=True)
class Head:
    """What stands before a body. ``headers`` have lower-case names and values without blanks around them.

    ``length`` is the body's in bytes, None where it comes in chunks. ``persists`` says whether the client expects to send
    another request, ``awaits_continue`` whether it waits for a 100 before it sends the body.
    """

    method: str
    target: bytes
    minor_version: int
    headers: list[tuple[bytes, bytes]]
    length: int | None
    persists: bool
    awaits_continue: bool


def has_stray_line_end(head: bytes | bytearray) -> bool:
    """Whether a line ends in anything but CR LF, so that the end of such a head need not be waited for.

    A CR that stands last may still be followed by its LF.
    """
    pairs = head.count(b"\r\n")
    return head.count(b"\n") != pairs or head.count(b"\r") != pairs + head.endswith(b"\r")


def parse_head(head: bytes) -> Head:
    """Return the head of one request, given with the empty line that ends it.

    Raises:
        BadFraming: it is not one, or says two things about where the request ends.
        HeadTooLarge: it has too many fields. TransferCodingUnknown, ExpectationFailed, UpgradeRefused.
    """
    match = _HEAD.fullmatch(head)
    if match is None:
        raise BadFraming
    method, target, minor, fields = match.groups()
    headers: list[tuple[bytes, bytes]] = []
    framing: dict[bytes, list[bytes]] = {}
    for raw_name, raw_value in _FIELD.findall(fields):
        name, value = raw_name.lower(), raw_value.strip(b" \t")
        headers.append((name, value))
        if name in _FRAMING:
            framing.setdefault(name, []).append(value)
    if len(headers) > MAX_FIELDS:
        raise HeadTooLarge(f"at most {MAX_FIELDS} fields")
    minor_version = int(minor)
    _check_host(framing.get(b"host"), minor_version)
    length = _body_length(framing, minor_version)
    text_method = method.decode("ascii")
    if framing.keys() <= _PLAIN:
        return Head(text_method, target, minor_version, headers, length, minor_version == 1, False)
    if b"websocket" in _listed(framing, b"upgrade"):
        raise UpgradeRefused
    expectation = _listed(framing, b"expect")
    if expectation not in {b"", b"100-continue"}:
        raise ExpectationFailed
    options = {option.strip(b" \t") for option in _listed(framing, b"connection").split(b",")}
    persists = b"close" not in options and (minor_version == 1 or b"keep-alive" in options)
    awaits_continue = expectation == b"100-continue" and minor_version == 1
    return Head(text_method, target, minor_version, headers, length, persists, awaits_continue)


def _listed(framing: Mapping[bytes, list[bytes]], name: bytes) -> bytes:
    """Return the values of a header as the one list that RFC 9110 takes them for, in lower case."""
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
            raise BadFraming("a body has a length or comes in chunks")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise TransferCodingUnknown
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadFraming("one Content-Length, in digits")
    return int(lengths[0]) if len(lengths[0]) <= _LONGEST_LENGTH else HUGE


class ChunkedBody:
    """Takes the bytes of a chunked body as they come, and gives those of the body."""

    def __init__(self) -> None:
        self._left = 0
        self._in_data = False
        self._ends = False
        self.is_complete = False

    def take(self, buffer: bytearray) -> bytes:
        """Remove what can be read from the front of ``buffer``, and return the body's part of it.

        Trailers are read and forgotten. What follows the body stays in the buffer.

        Raises:
            BadFraming: these are no chunks.
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
            raise BadFraming("a chunk begins with its size")
        size = int(match[1], 16)
        del match  # it keeps the buffer from being resized
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
