"""Heads and chunks: what is accepted, h11 reads alike; what two parsers could read differently is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.heads import REFUSED, head
from vsqlvault.errors import (
    BadFraming,
    ExpectationFailed,
    HeadTooLarge,
    TransferCodingUnknown,
    UpgradeRefused,
    VaultError,
)
from vsqlvault.http.server.framing import HUGE, MAX_KEPT_BYTES, ChunkedBody, Head, HeadReader, parse_head

HOST = b"Host: localhost\r\n"


ODD_NAMES = [
    b"Host", b"host", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection", b"Expect", b"X-A", b"",
    b"X A", b"X\tA", b"Content-Length ", b" Content-Length", b"X\x00", b"X:", b"Transfer_Encoding", b"\xff",
]  # fmt: skip
ODD_VALUES = [
    b"a", b"localhost", b"localhost:80", b"a b", b"5", b"05", b"+5", b"-5", b"5, 5", b"5,6", b"0x5", b"5 ", b"\t5", b"", b" ",
    b"chunked", b"Chunked", b"gzip, chunked", b"chunked, identity", b"\x0bchunked", b"identity", b"close", b"keep-alive",
    b"100-continue", b"a\r\n b", b"a\x00", b"a\rb", b"a\nb", b"\xff", b"a\x7f", b"18446744073709551616", b"9" * 40,
]  # fmt: skip
STARTS = [
    b"GET / HTTP/1.1", b"PUT /a HTTP/1.0", b"G\xc9T / HTTP/1.1", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET / HTTP/1.2",
    b"GET / HTTP/2.0", b"GET / http/1.1", b"GET /", b" GET / HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET /a b HTTP/1.1",
    b"GET /\x00 HTTP/1.1", b"FOO * HTTP/1.1", b"GET http://a/ HTTP/1.1", b"", b"PRI * HTTP/2.0",
]  # fmt: skip
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r", b""])
fields = st.tuples(
    st.sampled_from(ODD_NAMES) | st.binary(max_size=4),
    st.sampled_from([b":", b": ", b":\t", b" :"]),
    st.sampled_from(ODD_VALUES) | st.binary(max_size=6),
    ENDS,
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    start = draw(st.sampled_from(STARTS[:2] * 8 + STARTS))
    lines = [HOST] if draw(st.booleans()) else []
    lines += [b"".join(field) for field in draw(st.lists(fields, max_size=4))]
    return start + draw(ENDS) + b"".join(lines) + draw(st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r"]))


def read_by_h11(block: bytes, length: int | None) -> h11.Request:
    """Return the request as h11 reads it, after it has seen that h11 finds the same end of its body."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(block)
    request = connection.next_event()
    assert isinstance(request, h11.Request), request
    if length is None:
        connection.receive_data(b"1\r\nx\r\n0\r\n\r\n")
    elif length:
        connection.receive_data(b"x" * length)
    if length != 0:
        assert isinstance(connection.next_event(), h11.Data)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    return request


@given(heads())
@settings(max_examples=3000, deadline=None)
@example(head(b"Content-Length: 5", start=b"PUT /a HTTP/1.0"))
@example(head(b"Transfer-Encoding: chunked"))
@example(head(b"X: \xff"))
def test_what_is_accepted_h11_reads_alike(block: bytes) -> None:
    try:
        found = parse_head(block)
    except VaultError:
        return
    if found.fields.length is not None and found.fields.length > 1000:
        return  # h11 would take it too, and wait
    request = read_by_h11(block, found.fields.length)
    assert (request.method.decode(), request.target) == (found.method, found.target)
    assert request.http_version == b"1.%d" % found.fields.minor_version
    assert tuple(request.headers) == found.fields.headers


def outcome(read: Callable[[bytes], Head], block: bytes) -> Head | type[VaultError]:
    try:
        return read(block)
    except VaultError as error:
        return type(error)


@given(st.lists(heads(), max_size=3).flatmap(lambda some: st.lists(st.sampled_from(some or [HOST]), max_size=8)))
@settings(max_examples=500, deadline=None)
@example([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"])
@example([b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
@example([b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length for length in (1, 2, 1, 0)])
def test_a_head_is_read_the_same_whatever_came_before_it(blocks: list[bytes]) -> None:
    reader = HeadReader()
    assert [outcome(reader.read, block) for block in blocks] == [outcome(parse_head, block) for block in blocks]


def test_fields_that_are_repeated_are_read_once_unless_they_are_many() -> None:
    reader = HeadReader()
    first, second = (reader.read(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number) for number in (1, 2))
    assert first.fields is second.fields
    assert (first.target, second.target) == (b"/1", b"/2")
    long = head(b"X-A: " + b"a" * MAX_KEPT_BYTES)
    assert reader.read(long).fields is not reader.read(long).fields
    assert reader.read(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").fields is first.fields


@given(st.binary(max_size=200))
@settings(max_examples=2000, deadline=None)
def test_any_bytes_are_a_head_or_a_refusal(block: bytes) -> None:
    with contextlib.suppress(BadFraming, HeadTooLarge, TransferCodingUnknown, ExpectationFailed, UpgradeRefused):
        parse_head(block)


@pytest.mark.parametrize(("block", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_what_could_be_read_in_two_ways_is_refused(block: bytes, error: type[VaultError]) -> None:
    with pytest.raises(error) as caught:
        parse_head(block)
    assert type(caught.value) is error


def test_a_head_in_full() -> None:
    found = parse_head(
        head(b"CONTENT-length: 0012", b"X-A:\t a b \t", b"Expect: 100-Continue", b"Connection: a, Close")
    )
    assert (found.method, found.target, found.fields.minor_version, found.fields.length) == (
        "PUT",
        b"/vault/card/a",
        1,
        12,
    )
    assert found.fields.headers == (
        (b"host", b"localhost"),
        (b"content-length", b"0012"),
        (b"x-a", b"a b"),
        (b"expect", b"100-Continue"),
        (b"connection", b"a, Close"),
    )
    assert (found.fields.persists, found.fields.awaits_continue) == (False, True)


@pytest.mark.parametrize(
    ("block", "persists"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost:\r\nConnection: x\r\nConnection: CLOSE\r\n\r\n", False),
    ],
)
def test_who_expects_to_go_on(block: bytes, persists: bool) -> None:
    assert parse_head(block).fields.persists is persists


def test_100_fields_are_taken() -> None:
    assert len(parse_head(head(*[b"X-%d: a" % number for number in range(99)])).fields.headers) == 100


@pytest.mark.parametrize("digits", [b"9" * 19, b"1" + b"0" * 400])
def test_a_length_beyond_all_bounds_is_huge(digits: bytes) -> None:
    assert parse_head(head(b"Content-Length: " + digits)).fields.length == HUGE


def take_all(data: bytes, size: int) -> tuple[bytes, bytes, bool]:
    """Return the body, what is left behind it, and whether it is complete, of data that comes ``size`` bytes at a time."""
    body, taken, buffer = ChunkedBody(), b"", bytearray()
    for place in range(0, len(data), size):
        buffer += data[place : place + size]
        taken += body.take(buffer)
    return taken, bytes(buffer), body.is_complete


CHUNKS: dict[str, tuple[bytes, bytes, bytes]] = {
    "one": (b"3\r\nabc\r\n0\r\n\r\n", b"abc", b""),
    "two, and the next request": (b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nGET /", b"abc0123456789", b"GET /"),
    "none": (b"0\r\n\r\n", b"", b""),
    "zeros before the size": (b"0003\r\nabc\r\n000\r\n\r\n", b"abc", b""),
    "extensions": (b'3;a=b;c="d e"\r\nabc\r\n0;x\r\n\r\n', b"abc", b""),
    "trailers": (b"1\r\na\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\nrest", b"a", b"rest"),
    "line ends in the data": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", b""),
}


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(("data", "body", "rest"), CHUNKS.values(), ids=CHUNKS.keys())
def test_chunks_are_one_body_however_they_come(data: bytes, body: bytes, rest: bytes, size: int) -> None:
    assert take_all(data, size) == (body, rest, True)


NO_CHUNKS: dict[str, bytes] = {
    "no size": b"\r\nabc\r\n",
    "0x": b"0x3\r\nabc\r\n",
    "a sign": b"+3\r\nabc\r\n",
    "minus": b"-1\r\n",
    "an underscore": b"1_0\r\nabc\r\n",
    "a blank before": b" 3\r\nabc\r\n",
    "a blank behind": b"3 \r\nabc\r\n0\r\n\r\n",
    "17 digits": b"0" * 16 + b"3\r\nabc\r\n",
    "a bare LF": b"3\nabc\n0\n\n",
    "a bare CR": b"3\rabc\r0\r\r",
    "longer than it says": b"3\r\nabcd\r\n",
    "shorter than it says": b"5\r\nabc\r\n0\r\n\r\n",
    "an endless extension": b"3;" + b"a" * 300,
    "a line end in an extension": b"3;a\nb\r\nabc\r\n",
    "a trailer that is no field": b"0\r\nnothing\r\n\r\n",
    "a trailer with a bare LF": b"0\r\nX-A: b\n\r\n\r\n",
    "endless trailers": b"0\r\n" + b"X-A: b\r\n" * 700,
}


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("data", NO_CHUNKS.values(), ids=NO_CHUNKS.keys())
def test_what_is_no_chunk_is_refused(data: bytes, size: int) -> None:
    with pytest.raises(BadFraming):
        take_all(data, size)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 50))
@settings(deadline=None)
def test_whatever_h11_sends_in_chunks_comes_whole(parts: list[bytes], size: int) -> None:
    sender = h11.Connection(h11.CLIENT)
    sender.send(h11.Request(method="PUT", target="/", headers=[("Host", "a"), ("Transfer-Encoding", "chunked")]))
    data = b"".join(sender.send(h11.Data(data=part)) or b"" for part in parts) + (
        sender.send(h11.EndOfMessage()) or b""
    )
    assert take_all(data, size) == (b"".join(parts), b"", True)
