"""The context that clients shake hands with: what it keeps of OpenSSL's own caution, and whom it trusts."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority, Issued
from vsqlvault.config import ServerSettings
from vsqlvault.http.server.client_certificates import ClientCertificate, client_certificate
from vsqlvault.http.server.tls import Tls


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> Callable[..., Tls]:
    def make(**more: Any) -> Tls:
        server = authority.server()
        files = {"cert_file": str(server.cert_file), "key_file": str(server.key_file), **more}
        if "client_cert" in more:
            files["client_ca_file"] = str(authority.cert_file)
        return Tls(ServerSettings.model_validate({"tls": files}))

    return make


def shaken(server: ssl.SSLContext, authority: Authority, client: Issued | None) -> ssl.SSLObject:
    """Return the server's end after a handshake in memory."""
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    if client:
        context.load_cert_chain(client.cert_file, client.key_file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        context.wrap_bio(to_client, to_server, server_hostname="localhost"),
    ]
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0]


def der(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


def test_what_openssl_sets_by_itself_stays_set(tls: Callable[..., Tls]) -> None:
    usual = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).options
    more = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    assert tls().context.options & (usual | more) == usual | more


def test_with_client_certificates_no_session_is_resumed(tls: Callable[..., Tls]) -> None:
    for mode in ("optional", "required"):
        context = tls(client_cert=mode).context
        assert context.num_tickets == 0
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_only_the_authorities_of_the_file_are_trusted(tls: Callable[..., Tls], authority: Authority) -> None:
    assert tls().context.get_ca_certs() == []
    assert tls(client_cert="optional").context.get_ca_certs(binary_form=True) == [der(authority.issued)]


class TestClientCertificate:
    def test_it_is_passed_on_with_its_chain(self, tls: Callable[..., Tls], authority: Authority) -> None:
        client = authority.client("client")
        found = client_certificate(shaken(tls(client_cert="required").context, authority, client))
        assert found is not None
        assert (found.der, found.issuers) == (der(client), (der(authority.issued),))
        assert found.fault(frozenset()) is None

    def test_there_is_none_where_none_is_shown(self, tls: Callable[..., Tls], authority: Authority) -> None:
        assert client_certificate(shaken(tls(client_cert="optional").context, authority, None)) is None

    def test_there_is_none_that_was_not_verified(self, tls: Callable[..., Tls], authority: Authority) -> None:
        """A context that verifies nothing asks for none, and if it had one, that would prove nothing."""
        end = shaken(tls(client_cert="optional").context, authority, authority.client("client"))
        assert client_certificate(end) is not None
        end.context.check_hostname = False
        end.context.verify_mode = ssl.CERT_NONE
        assert client_certificate(end) is None
        assert client_certificate(shaken(tls().context, authority, authority.client("client"))) is None

    def test_what_openssl_took_and_cannot_be_read_is_no_good(self) -> None:
        found = ClientCertificate.of([b"junk", b"more"])
        assert (found.der, found.issuers, found.fault(frozenset())) == (b"junk", (b"more",), "malformed")

    def test_it_ends_with_the_first_of_its_chain(self, authority: Authority, monkeypatch) -> None:
        client = authority.client("client")
        found = ClientCertificate.of([der(client), der(authority.issued)])
        ends = [each.certificate.not_valid_after_utc for each in (client, authority.issued)]
        assert found.not_after == min(ends)

    def test_it_is_revoked_with_any_of_its_chain(self, authority: Authority) -> None:
        issuing = authority.below("issuing")
        client = authority.client("client", issuer=issuing)
        found = ClientCertificate.of([der(each) for each in (client, issuing, authority.issued)])
        name = authority.issued.certificate.subject.public_bytes()
        assert found.fault(frozenset({(name, issuing.certificate.serial_number)})) == "revoked"
        assert found.fault(frozenset({(name, client.certificate.serial_number)})) is None

    def test_one_that_has_ended_is_expired(self, authority: Authority) -> None:
        found = ClientCertificate.of([der(authority.client("client"))])
        now = datetime.now(UTC)
        assert now < found.not_after
        ended = ClientCertificate(found.der, (), found.serials, now)
        assert ended.fault(frozenset()) == "expired"
