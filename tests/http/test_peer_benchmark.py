"""The benchmark beside other servers: complete adapters, the end of a response, and the vault as the first peer."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peers.adapters import OPERATIONS, Adapter, adapter_file, names
from benchmarks.peers.driver import Peer, is_whole
from tests.support.server import VaultServer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_adapter_makes_whole_requests(name, operation) -> None:
    request = Adapter(adapter_file(name), "localhost:80", "secret").prepared(operation, 7, "value").message
    head, _, body = request.partition(b"\r\n\r\n")
    assert b"$" not in request
    assert b"secret" in head
    assert b"Content-Length: %d" % len(body) in head


def test_an_adapter_without_an_operation_is_refused(tmp_path) -> None:
    file: Path = tmp_path / "half.toml"
    file.write_text(
        '[create]\nmethod = "PUT"\npath = "/$name"\nstatus = 200\n[read]\nmethod = "GET"\npath = "/$name"\n'
    )
    with pytest.raises(SystemExit, match=r"half.toml: \[replace\] is missing"):
        Adapter(file, "localhost:80", "secret")


def test_an_unknown_adapter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SystemExit, match="no adapter nothing; there are: databunker, openbao"):
        Adapter(adapter_file("nothing"), "localhost:80", "secret")


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (HEAD + b"content-length: 3\r\n\r\nabc", True),
        (HEAD + b"Content-Length: 3\r\n\r\nab", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n", False),
    ],
)
def test_the_end_of_a_response_is_known(response, expected) -> None:
    assert is_whole(response) is expected


def test_it_measures_the_four_operations_of_the_vault(vault: VaultServer) -> None:
    vault.retention("card")
    peer = Peer("vault", vault.url, "vsqlvault", vault.key("payments"), entries=3)
    peer.fill()
    figures = {operation: peer.turn(operation, 2, 6) for operation in OPERATIONS}
    assert all(each.rate > 0 and each.median_ms <= each.p99_ms for each in figures.values())


def test_a_response_that_is_no_success_is_an_error(vault: VaultServer) -> None:
    vault.retention("card")
    peer = Peer("vault", vault.url, "vsqlvault", "not-a-key", entries=3)
    with pytest.raises(RuntimeError, match="401"):
        peer.fill()
