"""Which certificate says who asks, and what is believed of a proxy; without a socket."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import DAY, SERVER, Authority, Issued, dns, uri
from vsqlvault.config import ServerSettings
from vsqlvault.errors import BadForwarding, CredentialRefused, SettingsInvalid
from vsqlvault.http import forwarded_certificates
from vsqlvault.http.forwarded_certificates import ForwardedCertificates
from vsqlvault.http.forwarding import NAMES, Forwarding
from vsqlvault.http.messages import Request
from vsqlvault.http.server.client_certificates import ClientCertificate

PROXY, SPIFFE_PROXY = "ingress.example", "spiffe://shop.example/ingress"
FAR, HERE, STRANGER = "10.0.0.1", "127.0.0.1", "203.0.113.9"
Headers = list[tuple[str, str]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def settings(authority: Authority) -> Callable[..., ServerSettings]:
    def make(**forwarded: Any) -> ServerSettings:
        server = authority.server()
        tls = {
            "cert_file": str(server.cert_file),
            "key_file": str(server.key_file),
            "client_cert": "optional",
            "client_ca_file": str(authority.cert_file),
        }
        return ServerSettings.model_validate(
            {
                "tls": tls,
                "trusted_proxies": ["127.0.0.1", "10.0.0.0/8"],
                "forwarded_certificates": {"proxy_names": [PROXY, SPIFFE_PROXY], **forwarded},
            }
        )

    return make


def der(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


def header(certificate: bytes) -> str:
    return f":{base64.b64encode(certificate).decode('ascii')}:"


def arrived(peer: str, headers: Headers, own: Issued | None = None, *issuers: Issued) -> Request:
    async def no_body(_: int) -> bytes:
        return b""

    certificate = ClientCertificate.of([der(each) for each in (own, *issuers)]) if own else None
    return Request("GET", b"/", b"", headers, peer, True, "0" * 32, no_body, client_certificate=certificate)


def shown(forwarding: Forwarding, peer: str, headers: Headers, own: Issued | None = None) -> bytes | None:
    found = forwarding.certificate(arrived(peer, headers, own))
    return found.der if found else None


class TestWhoMayTell:
    @pytest.mark.parametrize("names", [[dns(PROXY)], [uri(SPIFFE_PROXY)], [dns("x.example"), dns(PROXY)]])
    def test_a_listed_proxy_that_shows_a_certificate_with_its_name(
        self, authority: Authority, settings: Callable[..., ServerSettings], names
    ) -> None:
        forwarding = Forwarding(settings())
        proxy, client = authority.client("proxy", names=names), authority.client("client")
        assert shown(forwarding, FAR, [("client-cert", header(der(client)))], proxy) == der(client)
        assert shown(forwarding, FAR, [], proxy) is None

    def test_a_listed_proxy_on_this_host(self, authority: Authority, settings: Callable[..., ServerSettings]) -> None:
        client = authority.client("client")
        forwarding = Forwarding(settings())
        for peer in (HERE, "::ffff:127.0.0.1"):
            assert shown(forwarding, peer, [("client-cert", header(der(client)))]) == der(client)

    def test_an_app_in_a_listed_network_is_no_proxy(
        self, authority: Authority, settings: Callable[..., ServerSettings]
    ) -> None:
        """Certificates are no secret: an app that may forward another's could be any app."""
        forwarding = Forwarding(settings())
        client = authority.client("client")
        claimed = [("client-cert", header(der(client)))]
        for own in (authority.client("app", names=[dns("app.example")]), authority.client(PROXY, names=[]), None):
            assert shown(forwarding, FAR, claimed, own) is None
            assert shown(forwarding, FAR, [], own) == (der(own) if own else None)

    def test_a_proxy_that_is_not_listed_presents_its_own_certificate(
        self, authority: Authority, settings: Callable[..., ServerSettings]
    ) -> None:
        forwarding = Forwarding(settings())
        own = authority.client("proxy", names=[dns(PROXY)])
        claimed = [("client-cert", "junk"), ("x-forwarded-for", "junk")]
        assert shown(forwarding, STRANGER, claimed, own) == der(own)
        assert shown(forwarding, STRANGER, claimed) is None

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_where_nobody_may_a_proxys_own_is_not_the_clients(self, authority: Authority, name: str) -> None:
        forwarding = Forwarding(ServerSettings(trusted_proxies=(HERE,)))
        own = authority.client("proxy")
        assert shown(forwarding, HERE, [(name, "x")], own) is None
        assert shown(forwarding, HERE, [], own) == der(own)


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize(
    ("peer", "is_known", "kept"),
    [
        (STRANGER, True, set()),
        (FAR, False, NAMES - {"client-cert", "client-cert-chain", "x-client-cert", "x-forwarded-client-cert"}),
        (FAR, True, NAMES - {"x-client-cert", "x-forwarded-client-cert"}),
    ],
    ids=["a stranger", "a listed one", "one that may forward certificates"],
)
def test_what_is_not_believed_is_not_shown_to_anybody(
    authority: Authority, settings: Callable[..., ServerSettings], name: str, peer: str, is_known: bool, kept: set[str]
) -> None:
    forwarding = Forwarding(settings())
    own = authority.client("proxy", names=[dns(PROXY if is_known else "app.example")])
    headers: Mapping[str, str] = {"host": "localhost", name: "x"}
    trusted_headers = forwarding.trusted_headers(arrived(peer, list(headers.items()), own), headers)
    assert (trusted_headers is headers) == (name in kept)
    assert dict(trusted_headers) == {key: value for key, value in headers.items() if key == "host" or key in kept}


def refused(forwarding: Forwarding, certificate: bytes) -> str:
    with pytest.raises(CredentialRefused) as found:
        forwarding.certificate(arrived(HERE, [("client-cert", header(certificate))]))
    return found.value.why


class TestGood:
    def test_the_chain_is_passed_on_from_the_issuer_to_the_root(
        self, authority: Authority, settings: Callable[..., ServerSettings]
    ) -> None:
        issuing = authority.below("issuing")
        client = authority.client("client", issuer=issuing)
        headers = [("client-cert", header(der(client))), ("client-cert-chain", header(der(issuing)))]
        found = Forwarding(settings()).certificate(arrived(HERE, headers))
        assert found is not None
        assert found.issuers == (der(issuing), der(authority.issued))
        assert len(found.serials) == 3

    def test_the_chain_may_stand_in_the_file_or_in_several_lines(
        self, authority: Authority, settings: Callable[..., ServerSettings], tmp_path: Path
    ) -> None:
        issuing = authority.below("issuing")
        client = authority.client("client", issuer=issuing)
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(authority.cert_file.read_bytes() + issuing.cert_file.read_bytes())
        alone = [("client-cert", header(der(client)))]
        assert shown(Forwarding(settings(ca_file=str(bundle))), HERE, alone) == der(client)
        chains = [("client-cert-chain", header(der(each))) for each in (issuing, authority.issued)]
        assert shown(Forwarding(settings()), HERE, alone + chains) == der(client)

    def test_one_that_the_authority_below_has_issued_is_not_trusted_by_that_one_alone(
        self, authority: Authority, settings: Callable[..., ServerSettings]
    ) -> None:
        """As in a handshake: what has not issued itself is no root."""
        issuing = authority.below("issuing")
        with pytest.raises(SettingsInvalid, match="a self-signed authority"):
            Forwarding(settings(ca_file=str(issuing.cert_file)))

    def test_a_certificate_is_verified_once(
        self, authority: Authority, settings: Callable[..., ServerSettings], monkeypatch
    ) -> None:
        forwarding = Forwarding(settings())
        headers = [("client-cert", header(der(authority.client("client"))))]
        first = forwarding.certificate(arrived(HERE, headers))
        monkeypatch.setattr(forwarded_certificates, "_decoded", None)
        assert forwarding.certificate(arrived(HERE, headers)) is first

    def test_the_oldest_is_forgotten_when_the_limit_is_reached(
        self, authority: Authority, settings: Callable[..., ServerSettings]
    ) -> None:
        certificates = ForwardedCertificates(settings(), max_remembered=2)
        values = [header(der(authority.client("client"))) for _ in range(3)]
        first = certificates.read(values[:1], [])
        assert certificates.read(values[:1], []) is first
        for value in values[1:]:
            certificates.read([value], [])
        assert certificates.read(values[:1], []) is not first


def signed(authority: Authority, key: Any, **usage: bool) -> bytes:
    """Return a client's certificate for any key."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.issued.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([dns("a.example")]), critical=True)
        .add_extension(authority._identifier(authority.issued), critical=False)
    )
    if usage:
        names = [
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        ]  # fmt: skip
        found = x509.KeyUsage(**{name: usage.get(name, False) for name in names})
        builder = builder.add_extension(found, critical=True)
    return builder.sign(authority.issued.key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_what_no_handshake_would_take_is_refused(authority: Authority, settings: Callable[..., ServerSettings]) -> None:
    forwarding = Forwarding(settings())
    curve = ec.generate_private_key(ec.SECP256R1())
    assert refused(forwarding, der(authority.client("for-servers", uses=[SERVER]))) == "eku"
    assert refused(forwarding, signed(authority, rsa.generate_private_key(65537, 1024))) == "untrusted_cert"
    assert refused(forwarding, signed(authority, curve, key_encipherment=True)) == "untrusted_cert"
    for good in (
        signed(authority, rsa.generate_private_key(65537, 2048)),
        signed(authority, ed25519.Ed25519PrivateKey.generate(), digital_signature=True),
        signed(authority, curve),
    ):
        assert shown(forwarding, HERE, [("client-cert", header(good))]) == good


class TestLists:
    def crl(self, authority: Authority, signer: Issued, until: timedelta, file: str, revoked: int = 1) -> Path:
        now = datetime.now(UTC)
        entry = x509.RevokedCertificateBuilder().serial_number(revoked).revocation_date(now - 2 * DAY).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(signer.certificate.subject)
        builder = builder.last_update(now - 2 * DAY).next_update(now + until).add_revoked_certificate(entry)
        path = authority.directory / file
        path.write_bytes(builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return path

    def forwarding(self, authority: Authority, settings: Callable[..., ServerSettings], *files: Path) -> Forwarding:
        together = authority.directory / "together.pem"
        together.write_bytes(b"".join(each.read_bytes() for each in files))
        return Forwarding(settings(ca_file=str(authority.cert_file), crl_file=str(together)))

    def test_one_is_needed_of_its_own_issuer_and_has_to_be_current(
        self, authority: Authority, settings: Callable[..., ServerSettings], tmp_path: Path
    ) -> None:
        (tmp_path / "same-name").mkdir()
        impostor = Authority(tmp_path / "same-name")
        client = authority.client("client")
        current = self.crl(authority, authority.issued, DAY, "current.pem")
        late = self.crl(authority, authority.issued, -DAY, "late.pem")
        forged = self.crl(authority, impostor.issued, DAY, "forged.pem")
        headers = [("client-cert", header(der(client)))]
        assert shown(self.forwarding(authority, settings, current), HERE, headers) == der(client)
        assert shown(self.forwarding(authority, settings, late, forged, current), HERE, headers) == der(client)
        assert refused(self.forwarding(authority, settings, late), der(client)) == "crl_expired"
        assert refused(self.forwarding(authority, settings, forged), der(client)) == "crl_missing"

    def test_an_authority_that_was_revoked_takes_those_below_with_it(
        self, authority: Authority, settings: Callable[..., ServerSettings]
    ) -> None:
        issuing = authority.below("issuing")
        client = authority.client("client", issuer=issuing)
        lists = [
            self.crl(authority, issuing, DAY, "below.pem"),
            self.crl(authority, authority.issued, DAY, "root.pem", issuing.certificate.serial_number),
        ]
        forwarding = self.forwarding(authority, settings, *lists)
        headers = [("client-cert", header(der(client))), ("client-cert-chain", header(der(issuing)))]
        with pytest.raises(CredentialRefused) as found:
            forwarding.certificate(arrived(HERE, headers))
        assert (found.value.why, found.value.credential_id) == ("revoked", f"x509:{client.thumbprint}")

    @pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
    def test_a_file_without_one_is_a_sentence(
        self, authority: Authority, settings: Callable[..., ServerSettings], content: bytes
    ) -> None:
        path = authority.directory / "nothing.pem"
        path.write_bytes(content)
        with pytest.raises(SettingsInvalid, match=r"server\.forwarded_certificates\.crl_file: cannot use"):
            Forwarding(settings(ca_file=str(authority.cert_file), crl_file=str(path)))


@pytest.mark.parametrize("content", [None, b"", b"junk"])
def test_a_file_without_an_authority_is_a_sentence(
    authority: Authority, settings: Callable[..., ServerSettings], content: bytes | None
) -> None:
    path = authority.directory / "nothing.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=r"server\.forwarded_certificates\.ca_file: cannot use"):
        Forwarding(settings(ca_file=str(path)))


def test_of_two_certificates_none_is_taken(authority: Authority, settings: Callable[..., ServerSettings]) -> None:
    good = header(der(authority.client("client")))
    for headers in (
        [("client-cert", good), ("client-cert", good)],
        [("client-cert", f"{good},{good}")],
        [("client-cert-chain", good)],
        [("client-cert", f"{good};a")],
        [("client-cert", good[:-2] + ":")],
    ):
        with pytest.raises(BadForwarding):
            Forwarding(settings()).certificate(arrived(HERE, headers))


def test_one_that_is_good_but_too_large_is_not_taken(
    authority: Authority, settings: Callable[..., ServerSettings]
) -> None:
    forwarding = Forwarding(settings())
    large = der(authority.client("large", names=[dns(f"host-{number}.{'a' * 60}.example") for number in range(110)]))
    assert len(large) > forwarded_certificates.MAX_CERTIFICATE_BYTES
    with pytest.raises(BadForwarding):
        forwarding.certificate(arrived(HERE, [("client-cert", header(large))]))
    fits = der(authority.client("fits", names=[dns(f"host-{number}.{'a' * 60}.example") for number in range(90)]))
    assert shown(forwarding, HERE, [("client-cert", header(fits))]) == fits
