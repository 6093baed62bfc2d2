"""Which app a certificate is: by which of its names, from which authority, and when it is nobody's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.certificates import CLIENT, SERVER, Authority, Issued, dns, uri
from tests.support.settings import checked
from vsqlvault.config import Settings
from vsqlvault.errors import AmbiguousCredentials, CredentialRefused, SettingsInvalid
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.interfaces.certificates import spki_sha256
from vsqlvault.model.principal import Principal, Role
from vsqlvault_plugins.auth import mtls
from vsqlvault_plugins.auth.mtls import CertificateAuthenticator

SPIFFE = "spiffe://shop.example/payments"
ANY = (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def partner(tmp_path: Path) -> Authority:
    (tmp_path / "partner").mkdir()
    return Authority(tmp_path / "partner", "partner")


@pytest.fixture
def settings(authority: Authority) -> Callable[..., Settings]:
    """Return a function that makes settings of what is mapped; ``ca_file`` is that of ``[server.tls]``."""

    def make(*mapped: dict[str, Any], ca_file: Path | None = None) -> Settings:
        server = authority.server()
        tls = {
            "cert_file": str(server.cert_file),
            "key_file": str(server.key_file),
            "client_cert": "optional",
            "client_ca_file": str(ca_file or authority.cert_file),
        }
        return checked({"server": {"tls": tls}, "auth": {"mtls": list(mapped)}})

    return make


def der(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


def present(authenticator: CertificateAuthenticator, client: Issued, *issuers: Issued) -> Principal | None:
    return authenticator.authenticate(Presented({}, "192.0.2.7", der(client), tuple(der(each) for each in issuers)))


def whose(settings: Settings, client: Issued, *issuers: Issued) -> str:
    """Return the app that a certificate is, or why it is none."""
    try:
        principal = present(CertificateAuthenticator(settings), client, *issuers)
    except AmbiguousCredentials:
        return "ambiguous"
    except CredentialRefused as refused:
        return refused.why if refused.credential_id == f"x509:{client.thumbprint}" else "not named on the row"
    assert principal is not None
    return f"app {principal.app}"


def test_what_it_says_of_who_asks(authority: Authority, settings: Callable[..., Settings]) -> None:
    client = authority.client("c", names=[uri(SPIFFE)])
    mapped = {"san_uri": SPIFFE, "app": "payments", "purposes": ["card"], "roles": ["auditor"]}
    found = present(CertificateAuthenticator(settings(mapped)), client, authority.issued)
    assert found == Principal(
        "payments", "mtls", f"x509:{client.thumbprint}", SPIFFE, frozenset({"card"}), frozenset({Role.AUDITOR})
    )
    found = present(CertificateAuthenticator(settings({**mapped, "identity": "till-7", "purposes": ["*"]})), client)
    assert found is not None
    assert (found.identity, found.purposes) == ("till-7", None)
    by_thumbprint = {"thumbprint": client.thumbprint, "app": "payments"}
    found = present(CertificateAuthenticator(settings(by_thumbprint)), client)
    assert found is not None
    assert (found.identity, found.purposes, found.roles) == (None, frozenset(), frozenset())


@pytest.mark.parametrize(
    ("mapped", "names", "found"),
    [
        ({"san_uri": SPIFFE}, [uri(SPIFFE)], "app payments"),
        ({"san_uri": SPIFFE}, [dns("a.example"), uri(SPIFFE)], "app payments"),
        ({"san_uri": SPIFFE}, [uri(SPIFFE + "/")], "unmapped_cert"),
        ({"san_uri": SPIFFE}, [uri(SPIFFE.replace("payments", "Payments"))], "unmapped_cert"),
        ({"san_uri": SPIFFE}, [uri(SPIFFE), uri("spiffe://shop.example/other")], "unmapped_cert"),
        ({"san_uri": SPIFFE}, [uri(SPIFFE), uri(SPIFFE)], "unmapped_cert"),
        ({"san_uri": SPIFFE}, [dns("shop.example")], "unmapped_cert"),
        ({"san_uri": SPIFFE}, [], "unmapped_cert"),
        ({"san_uri": "urn:app:payments"}, [uri("urn:app:payments")], "app payments"),
        ({"san_dns": "pay.example"}, [dns("pay.example")], "app payments"),
        ({"san_dns": "pay.example"}, [dns("PAY.example")], "app payments"),
        ({"san_dns": "pay.example"}, [dns("a.example"), dns("pay.example")], "app payments"),
        ({"san_dns": "pay.example"}, [dns("*.example")], "unmapped_cert"),
        ({"san_dns": "pay.example"}, [dns("pay.example.evil.example")], "unmapped_cert"),
        ({"san_dns": "pay.example"}, [uri("https://pay.example")], "unmapped_cert"),
        ({"common_name": "the-client"}, [], "app payments"),
        ({"common_name": "The-Client"}, [], "unmapped_cert"),
        ({"san_dns": "the-client"}, [], "unmapped_cert"),
        ({"san_uri": "urn:the-client"}, [], "unmapped_cert"),
    ],
)
def test_one_name_has_to_be_the_one_that_is_mapped(
    authority: Authority, settings: Callable[..., Settings], mapped, names, found
) -> None:
    client = authority.client("the-client", names=names)
    assert whose(settings({**mapped, "app": "payments"}), client, authority.issued) == found


def test_a_thumbprint_is_that_of_the_whole_certificate(authority: Authority, settings: Callable[..., Settings]) -> None:
    client, other = authority.client("c"), authority.client("c")
    written = ":".join(client.thumbprint[place : place + 2] for place in range(0, 64, 2)).upper()
    assert whose(settings({"thumbprint": written, "app": "payments"}), client) == "app payments"
    assert whose(settings({"thumbprint": written, "app": "payments"}), other) == "unmapped_cert"


@pytest.mark.parametrize(
    ("uses", "found"),
    [
        ([CLIENT], "app payments"),
        ([SERVER, CLIENT], "app payments"),
        ([SERVER], "eku"),
        (ANY, "eku"),
        ([], "eku"),
    ],
    ids=["clients", "both", "servers", "any", "nothing said"],
)
def test_it_has_to_be_for_clients(authority: Authority, settings: Callable[..., Settings], uses, found) -> None:
    client = authority.client("c", uses=uses)
    assert whose(settings({"common_name": "c", "app": "payments"}), client) == found


@pytest.mark.parametrize(("uses", "found"), [([], "app payments"), ([SERVER], "eku"), (ANY, "eku")])
def test_only_one_that_says_nothing_is_let_off(
    authority: Authority, settings: Callable[..., Settings], uses, found
) -> None:
    mapped = {"common_name": "c", "app": "payments", "require_eku": False}
    assert whose(settings(mapped), authority.client("c", uses=uses)) == found


class TestAuthorities:
    def test_the_pinned_one_stands_anywhere_in_the_chain(
        self, authority: Authority, partner: Authority, settings: Callable[..., Settings]
    ) -> None:
        issuing = authority.below("issuing")
        client = authority.client("c", names=[uri(SPIFFE)], issuer=issuing)
        for pinned, found in (
            (issuing, "app payments"),
            (authority.issued, "app payments"),
            (partner.issued, "unmapped_cert"),
        ):
            by_file = {"san_uri": SPIFFE, "app": "payments", "ca_file": str(pinned.cert_file)}
            assert whose(settings(by_file), client, issuing, authority.issued) == found
            by_key = {
                "san_uri": SPIFFE,
                "app": "payments",
                "issuer_spki_sha256": spki_sha256(pinned.certificate),
            }
            assert whose(settings(by_key), client, issuing, authority.issued) == found

    def test_what_is_pinned_is_the_key_not_the_name(
        self, authority: Authority, settings: Callable[..., Settings], tmp_path: Path
    ) -> None:
        (tmp_path / "same-name").mkdir()
        impostor = Authority(tmp_path / "same-name")
        assert impostor.issued.certificate.subject == authority.issued.certificate.subject
        mapped = {"common_name": "c", "app": "payments", "ca_file": str(authority.cert_file)}
        assert whose(settings(mapped), impostor.client("c"), impostor.issued) == "unmapped_cert"

    def test_a_pinned_mapping_needs_the_chain(self, authority: Authority, settings: Callable[..., Settings]) -> None:
        mapped = {"common_name": "c", "app": "payments", "ca_file": str(authority.cert_file)}
        assert whose(settings(mapped), authority.client("c")) == "unmapped_cert"

    def test_one_name_may_be_two_apps_of_two_authorities(
        self, authority: Authority, partner: Authority, settings: Callable[..., Settings]
    ) -> None:
        made = settings(
            {"common_name": "c", "app": "ours", "ca_file": str(authority.cert_file)},
            {"common_name": "c", "app": "theirs", "ca_file": str(partner.cert_file)},
        )
        assert whose(made, authority.client("c"), authority.issued) == "app ours"
        assert whose(made, partner.client("c"), partner.issued) == "app theirs"

    def test_several_trusted_authorities_must_be_distinguishable(
        self, authority: Authority, partner: Authority, settings: Callable[..., Settings], tmp_path: Path
    ) -> None:
        both = tmp_path / "both.pem"
        both.write_bytes(authority.cert_file.read_bytes() + partner.cert_file.read_bytes())
        for kind, value in {"san_uri": SPIFFE, "san_dns": "c.example", "common_name": "c"}.items():
            with pytest.raises(SettingsInvalid, match="payments: expected ca_file or issuer_spki_sha256"):
                CertificateAuthenticator(settings({kind: value, "app": "payments"}, ca_file=both))
        CertificateAuthenticator(settings({"thumbprint": "0" * 64, "app": "payments"}, ca_file=both))
        CertificateAuthenticator(settings({"common_name": "c", "app": "p", "ca_file": str(both)}, ca_file=both))

    def test_one_with_those_that_it_has_issued_is_one(
        self, authority: Authority, settings: Callable[..., Settings], tmp_path: Path
    ) -> None:
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(authority.cert_file.read_bytes() + authority.below("issuing").cert_file.read_bytes())
        CertificateAuthenticator(settings({"common_name": "c", "app": "payments"}, ca_file=bundle))

    @pytest.mark.parametrize("content", [None, b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END"])
    def test_a_file_that_cannot_be_used_is_a_sentence(
        self, settings: Callable[..., Settings], tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "pinned.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsInvalid, match=r"^auth\.mtls: payments: ca_file: expected "):
            CertificateAuthenticator(settings({"common_name": "c", "app": "payments", "ca_file": str(path)}))


class TestSeveralNames:
    def test_the_one_that_says_most_decides(self, authority: Authority, settings: Callable[..., Settings]) -> None:
        client = authority.client("c", names=[uri(SPIFFE), dns("c.example")])
        mapped = [
            {"common_name": "c", "app": "by-common-name"},
            {"san_dns": "c.example", "app": "by-dns"},
            {"san_uri": SPIFFE, "app": "by-uri"},
            {"thumbprint": client.thumbprint, "app": "by-thumbprint"},
        ]
        for count, found in enumerate(["by-common-name", "by-dns", "by-uri", "by-thumbprint"], 1):
            assert whose(settings(*mapped[:count]), client) == f"app {found}"

    def test_two_of_a_kind_that_are_two_apps_are_ambiguous(
        self, authority: Authority, settings: Callable[..., Settings]
    ) -> None:
        client = authority.client("c", names=[dns("a.example"), dns("b.example")])
        made = settings({"san_dns": "a.example", "app": "a"}, {"san_dns": "b.example", "app": "b"})
        assert whose(made, client) == "ambiguous"

    def test_two_of_a_kind_that_are_one_app_grant_what_both_grant(
        self, authority: Authority, settings: Callable[..., Settings]
    ) -> None:
        client = authority.client("c", names=[dns("a.example"), dns("b.example")])
        made = settings(
            {"san_dns": "a.example", "app": "a", "purposes": ["card", "ach"], "roles": ["admin"]},
            {"san_dns": "b.example", "app": "a", "purposes": ["card"]},
        )
        found = present(CertificateAuthenticator(made), client)
        assert found is not None
        assert (found.purposes, found.roles) == (frozenset({"card"}), frozenset())

    def test_two_common_names_are_none(self, authority: Authority, settings: Callable[..., Settings]) -> None:
        client = authority.client("c", names=[], also_called=["d"])
        assert whose(settings({"common_name": "c", "app": "a"}), client) == "unmapped_cert"
        assert whose(settings({"common_name": "d", "app": "a"}), client) == "unmapped_cert"

    def test_one_certificate_cannot_be_written_down_for_two(self, settings: Callable[..., Settings]) -> None:
        for kind, value in {"san_uri": SPIFFE, "common_name": "c", "thumbprint": "0" * 64}.items():
            with pytest.raises(SettingsInvalid, match=f"found one {kind} for a and b"):
                CertificateAuthenticator(settings({kind: value, "app": "a"}, {kind: value, "app": "b"}))


def test_where_nothing_is_mapped_it_says_nothing(authority: Authority, settings: Callable[..., Settings]) -> None:
    assert present(CertificateAuthenticator(settings()), authority.client("c"), authority.issued) is None


def test_without_a_certificate_it_says_nothing(settings: Callable[..., Settings]) -> None:
    authenticator = CertificateAuthenticator(settings({"common_name": "c", "app": "a"}))
    assert authenticator.authenticate(Presented({"client-cert": "x"})) is None


@pytest.mark.parametrize("certificate", [b"", b"junk", b"\x30\x03\x02\x01\x01"])
def test_what_cannot_be_read_is_refused(settings: Callable[..., Settings], certificate: bytes) -> None:
    authenticator = CertificateAuthenticator(settings({"common_name": "c", "app": "a"}))
    with pytest.raises(CredentialRefused) as refused:
        authenticator.authenticate(Presented({}, None, certificate))
    assert refused.value.why == "malformed"


class TestRemembering:
    def test_a_certificate_is_read_once(
        self, authority: Authority, settings: Callable[..., Settings], monkeypatch
    ) -> None:
        read: list[bytes] = []

        class Counted(mtls.CertificateNames):  # type: ignore[misc]
            @classmethod
            def of(cls, certificate: bytes) -> mtls.CertificateNames:
                read.append(certificate)
                return super().of(certificate)

        good, bad = authority.client("c"), authority.client("d")
        authenticator = CertificateAuthenticator(settings({"common_name": "c", "app": "a"}))
        monkeypatch.setattr(mtls, "CertificateNames", Counted)
        found = {id(present(authenticator, good)) for _ in range(5)}
        for _ in range(5):
            with pytest.raises(CredentialRefused):
                present(authenticator, bad)
        assert len(found) == 1
        assert len(read) == 2

    def test_the_oldest_is_forgotten_when_the_limit_is_reached(
        self, authority: Authority, settings: Callable[..., Settings]
    ) -> None:
        authenticator = CertificateAuthenticator(settings({"common_name": "c", "app": "a"}), max_remembered=3)
        clients = [authority.client("c") for _ in range(4)]
        first = present(authenticator, clients[0])
        assert present(authenticator, clients[0]) is first
        for client in clients[1:]:
            present(authenticator, client)
        assert present(authenticator, clients[0]) is not first

    async def test_a_reload_forgets_what_was_found(
        self, authority: Authority, settings: Callable[..., Settings]
    ) -> None:
        client = authority.client("c")
        authenticator = CertificateAuthenticator(settings({"common_name": "c", "app": "a"}))
        assert present(authenticator, client) is not None
        await authenticator.reload(settings({"common_name": "d", "app": "a"}))
        with pytest.raises(CredentialRefused):
            present(authenticator, client)
        with pytest.raises(SettingsInvalid):
            await authenticator.reload(settings(*[{"common_name": "c", "app": app} for app in "ab"]))
        with pytest.raises(CredentialRefused):
            present(authenticator, client)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({}, "exactly one of san_uri"),
    "two names": ({"san_dns": "a.example", "common_name": "a"}, "exactly one of san_uri"),
    "two pins": ({"common_name": "a", "ca_file": "x", "issuer_spki_sha256": "0" * 64}, "at most one of ca_file"),
    "a wildcard": ({"san_dns": "*.example"}, "one DNS name in lower case"),
    "a name in upper case": ({"san_dns": "Pay.example"}, "one DNS name in lower case"),
    "no URI": ({"san_uri": "payments"}, "a URI in ASCII"),
    "a SPIFFE id without a path": ({"san_uri": "spiffe://shop.example"}, "a URI in ASCII"),
    "a SPIFFE id with a slash at its end": ({"san_uri": SPIFFE + "/"}, "a URI in ASCII"),
    "a SPIFFE id with dots": ({"san_uri": "spiffe://shop.example/a/../b"}, "a URI in ASCII"),
    "a SPIFFE id with a port": ({"san_uri": "spiffe://shop.example:80/a"}, "a URI in ASCII"),
    "a SPIFFE id in upper case": ({"san_uri": "SPIFFE://shop.example/a"}, "a URI in ASCII"),
    "a trust domain in upper case": ({"san_uri": "spiffe://Shop.example/a"}, "a URI in ASCII"),
    "a short thumbprint": ({"thumbprint": "0" * 40}, "64 hex digits"),
    "a key's hash that is none": ({"common_name": "a", "issuer_spki_sha256": "sha256//AAAA"}, "64 hex digits"),
    "a name with a line": ({"common_name": "a\nb"}, "text without invisible or control characters"),
    "an identity with a line": (
        {"common_name": "a", "identity": "a\nb"},
        "text without invisible or control characters",
    ),
}


@pytest.mark.parametrize(("mapped", "stated"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_mapped_is_a_sentence(settings: Callable[..., Settings], mapped, stated) -> None:
    with pytest.raises(SettingsInvalid, match=stated):
        settings({**mapped, "app": "a"})


def test_what_is_mapped_needs_certificates_to_arrive(authority: Authority) -> None:
    mapped = {"auth": {"mtls": [{"common_name": "c", "app": "a"}]}}
    with pytest.raises(SettingsInvalid, match=r"^auth\.mtls: expected certificates to arrive"):
        CertificateAuthenticator(checked(mapped))
    forwarded = {"trusted_proxies": ["127.0.0.1"], "forwarded_certificates": {"ca_file": str(authority.cert_file)}}
    assert CertificateAuthenticator(checked({**mapped, "server": forwarded})).is_in_use


def test_a_public_key_of_an_unknown_kind_cannot_be_read() -> None:
    class Odd:
        def public_key(self) -> None:
            raise UnsupportedAlgorithm("odd")

    with pytest.raises(ValueError, match="unknown kind"):
        spki_sha256(Odd())  # type: ignore[arg-type]


def test_a_process_that_is_locked_in_can_still_read_the_authorities(settings: Callable[..., Settings]) -> None:
    made = settings({"common_name": "c", "app": "a", "ca_file": "/ca/a.pem"}, {"thumbprint": "0" * 64, "app": "b"})
    assert [need.readable for need in mtls.vault_process_needs(made)] == [("/ca/a.pem",)]


def test_one_certificate_under_other_issuers_is_evaluated_again(
    authority: Authority, partner: Authority, settings: Callable[..., Settings]
) -> None:
    client = authority.client("c")
    authenticator = CertificateAuthenticator(
        settings({"common_name": "c", "app": "ours", "ca_file": str(authority.cert_file)})
    )
    found = present(authenticator, client, authority.issued)
    assert found is not None
    assert found.app == "ours"
    with pytest.raises(CredentialRefused) as refused:
        present(authenticator, client, partner.issued)
    assert refused.value.why == "unmapped_cert"
