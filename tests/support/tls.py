"""A vault that is served over TLS, and an authority for its clients; a suite takes the fixtures from here."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Issued
from tests.support.fixtures import NewDatabase
from tests.support.server import VaultServer
from tests.support.wire import connected, request_bytes

Start = Callable[..., VaultServer]


class Ground:
    """An authority, the server's certificate in place, and what clients bring."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory)
        self.crl_file = self.authority.revoke()
        self.cert_file, self.key_file = directory / "in-use.pem", directory / "in-use.key"
        self.serve(self.authority.server())

    def serve(self, issued: Issued) -> None:
        shutil.copy(issued.cert_file, self.cert_file)
        shutil.copy(issued.key_file, self.key_file)
        self.key_file.chmod(0o600)

    def settings(self, *lines: str, client_cert: str | None = None, more: str = "") -> str:
        tls = [f'cert_file = "{self.cert_file}"', f'key_file = "{self.key_file}"', *lines]
        if client_cert:
            tls += [f'client_cert = "{client_cert}"', f'client_ca_file = "{self.authority.cert_file}"']
            tls.append(f'crl_file = "{self.crl_file}"')
        return "\n".join(["[server]", more, "[server.tls]", *tls, ""])

    def context(self, client: Issued | None = None, *protocols: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.cert_file))
        if client:
            context.load_cert_chain(client.cert_file, client.key_file)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    directory = tmp_path / "tls"
    directory.mkdir()
    return Ground(directory)


@pytest.fixture
def start(tmp_path: Path, new_database: NewDatabase, ground: Ground) -> Iterator[Start]:
    servers: list[VaultServer] = []

    def start(settings: str, client: Issued | None = None, *, plain: bool = False) -> VaultServer:
        directory = tmp_path / f"server-{len(servers)}"
        directory.mkdir()
        server = VaultServer(directory, settings=settings, database_url=new_database(directory))
        servers.append(server)
        server.tls = None if plain else ground.context(client)
        server.start()
        server.retention("card")
        return server

    yield start
    for server in servers:
        server.kill()


def keeping(server: VaultServer, who: str = "payments") -> list[tuple[str, str]]:
    return [("X-Vault-Key", server.key(who)), ("Connection", "keep-alive")]


def refused_handshake(server: VaultServer, context: ssl.SSLContext) -> None:
    """In TLS 1.3 the client learns that it was refused when it reads."""
    with (
        suppress(ssl.SSLError, ConnectionResetError, BrokenPipeError),
        connected(server.address, 10, context) as connection,
    ):
        connection.sendall(request_bytes("GET", "/health"))
        assert connection.recv(1) == b""


def rejected(server: VaultServer) -> list[str]:
    return [row["reason"] for row in server.rows("operation=authenticate") if row["reason"].startswith("tls.reject:")]
