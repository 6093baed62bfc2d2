"""A token that is bound to a client's certificate (RFC 8705), over real TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority, Issued
from tests.support.checks import assert_problem
from tests.support.fixtures import NewDatabase
from tests.support.server import VaultServer, eventually
from tests.support.tokens import ISSUER, SigningKey, claims, jwks
from tests.support.wire import Answer, connected, read_answer, request_bytes
from vsqlvault_plugins.auth.jwt.claims import thumbprint_of

KEY = SigningKey()


class Ground:
    """An authority, two clients of it, and a server that asks for certificates and takes tokens."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.authority = Authority(directory)
        issued = self.authority.server()
        self.clients = {name: self.authority.client(name) for name in ("payments", "thief")}
        keys = directory / "keys.json"
        keys.write_bytes(jwks(KEY))
        settings = (
            f'[server]\n[server.tls]\ncert_file = "{issued.cert_file}"\nkey_file = "{issued.key_file}"\n'
            f'client_cert = "optional"\nclient_ca_file = "{self.authority.cert_file}"\n'
            f'[[auth.jwt]]\nissuer = "{ISSUER}"\naudience = "vault"\njwks_file = "{keys}"\npurposes_claim = "purposes"\n'
        )
        self.server = VaultServer(directory, settings=settings, database_url=database_url)
        self.server.tls = self.context(None)
        self.server.start()
        self.server.retention("card")

    def context(self, client: Issued | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.cert_file))
        if client:
            context.load_cert_chain(client.cert_file, client.key_file)
        return context

    def ask(self, token: str, who: str | None, times: int = 1) -> list[Answer]:
        """Ask with a token over one connection, with the client's certificate or without one."""
        context = self.context(self.clients[who] if who else None)
        headers = [("Authorization", f"Bearer {token}"), ("Connection", "keep-alive")]
        with connected(self.server.address, 20, context) as connection:
            answers = []
            for _ in range(times):
                connection.sendall(request_bytes("GET", "/vault/card/none-such", headers=headers))
                answers.append(read_answer(connection))
            return answers

    def bound(self, who: str, **members: Any) -> str:
        der = self.clients[who].certificate.public_bytes(Encoding.DER)
        return KEY.token(claims(cnf={"x5t#S256": thumbprint_of(der)}, **members))


@pytest.fixture
def ground(tmp_path: Path, new_database: NewDatabase) -> Iterator[Ground]:
    made = Ground(tmp_path, new_database(tmp_path))
    yield made
    made.server.kill()


def test_a_bound_token_is_good_with_its_certificate_alone(ground: Ground) -> None:
    token = ground.bound("payments", jti="bound-1")
    assert [answer.status for answer in ground.ask(token, "payments", times=2)] == [404, 404]
    for who in ("thief", None):
        for answer in ground.ask(token, who, times=2):
            assert_problem(answer, 401, "unauthenticated")
    assert [answer.status for answer in ground.ask(token, "payments")] == [404]
    eventually(lambda: sum(row["count"] for row in ground.server.rows("reason=cnf")) == 4, 4)
    assert {row["credential_id"] for row in ground.server.rows("reason=cnf")} == {"login.example#jti:bound-1"}


def test_a_token_that_is_not_bound_is_good_with_any_certificate_or_none(ground: Ground) -> None:
    token = KEY.token(claims())
    for who in ("payments", "thief", None):
        assert [answer.status for answer in ground.ask(token, who)] == [404]
