"""Forwarded certificates: from which proxies they are accepted, which are valid, and which are malformed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import DAY, SERVER, Authority, Issued, dns, uri
from tests.support.checks import assert_problem, assert_refused
from tests.support.server import VaultServer, eventually
from tests.support.tls import Ground, Start, ground, start
from tests.support.tokens import ISSUER, SigningKey, claims, jwks
from tests.support.wire import Answer, exchange, request_bytes
from vsqlvault_plugins.auth.jwt.claims import thumbprint_of

__all__ = ["ground", "start"]

SPIFFE = "spiffe://shop.example/payments"
PROXY = "ingress.example"
MAPPED = f"""
[[auth.mtls]]
san_uri = "{SPIFFE}"
app = "payments"
purposes = ["card"]
"""


def header(issued: Issued) -> str:
    return f":{base64.b64encode(issued.certificate.public_bytes(Encoding.DER)).decode('ascii')}:"


def told(value: str, *chain: Issued) -> list[tuple[str, str]]:
    found = [("Client-Cert", value)]
    return [*found, ("Client-Cert-Chain", ", ".join(header(each) for each in chain))] if chain else found


def ask(server: VaultServer, headers: Sequence[tuple[str, str]], who: str | None = None) -> Answer:
    """Ask for an entry that is not there, as a proxy would for its client."""
    key = [("X-Vault-Key", server.key(who))] if who else []
    return exchange(
        server.address, request_bytes("GET", "/vault/card/none-such", headers=[*headers, *key]), tls=server.tls
    )


def settings(
    ground: Ground,
    *,
    proxies: str = '["127.0.0.1"]',
    names: str = "",
    client_cert: str | None = "optional",
    forwarded: bool = True,
) -> str:
    text = ground.settings(client_cert=client_cert, more=f"trusted_proxies = {proxies}")
    return text + (f"[server.forwarded_certificates]\n{names}\n" if forwarded else "") + MAPPED


def entitled(ground: Ground, name: str = "payments", **how: object) -> Issued:
    return ground.authority.client(name, names=[uri(SPIFFE)], **how)  # type: ignore[arg-type]


class TestTaken:
    def test_from_a_proxy_on_this_host(self, start: Start, ground: Ground) -> None:
        server = start(settings(ground))
        client = entitled(ground)
        answer = ask(server, [*told(header(client)), ("X-Forwarded-For", "203.0.113.9")])
        assert answer.status == 404
        row = server.row(answer)
        assert {name: row[name] for name in ("app", "identity", "method", "credential_id", "client_address")} == {
            "app": "payments",
            "identity": SPIFFE,
            "method": "mtls",
            "credential_id": f"x509:{client.thumbprint}",
            "client_address": "203.0.113.9",
        }
        assert row["untrusted_forwarding"] is False

    def test_with_the_authorities_between(self, start: Start, ground: Ground) -> None:
        issuing = ground.authority.below("issuing")
        lines = settings(ground).splitlines()
        server = start("\n".join(line for line in lines if "crl_file" not in line) + "\n")
        client = entitled(ground, issuer=issuing)
        assert ask(server, told(header(client), issuing)).status == 404
        assert_problem(ask(server, told(header(client))), 401, "unauthenticated")

    def test_without_tls_behind_a_proxy_that_ends_it(self, start: Start, ground: Ground) -> None:
        server = start(
            '[server]\ntrusted_proxies = ["127.0.0.1"]\n[server.forwarded_certificates]\n'
            f'ca_file = "{ground.authority.cert_file}"\ncrl_file = "{ground.crl_file}"\n{MAPPED}',
            plain=True,
        )
        client, revoked = entitled(ground), entitled(ground, "revoked")
        assert ask(server, told(header(client))).status == 404
        assert ask(server, told(header(revoked))).status == 404
        ground.authority.revoke(revoked)
        server.hang_up()
        answer = ask(server, told(header(revoked)))
        assert_refused(server, answer, 401, "unauthenticated", "revoked")
        assert ask(server, told(header(client))).status == 404

    def test_beside_a_key_of_the_same_app(self, start: Start, ground: Ground) -> None:
        server = start(settings(ground))
        assert ask(server, told(header(entitled(ground))), "payments").status == 404
        answer = ask(server, told(header(entitled(ground))), "billing")
        assert_problem(answer, 401, "ambiguous-credentials")

    def test_and_a_bound_token_is_held_against_it(self, start: Start, ground: Ground, tmp_path: Path) -> None:
        keys, key = tmp_path / "keys.json", SigningKey()
        keys.write_bytes(jwks(key))
        issuer = f'[[auth.jwt]]\nissuer = "{ISSUER}"\naudience = "vault"\njwks_file = "{keys}"\npurposes_claim = "purposes"\n'
        server = start(settings(ground) + issuer)
        client, thief = entitled(ground), entitled(ground, "thief")
        bound = {"x5t#S256": thumbprint_of(client.certificate.public_bytes(Encoding.DER))}
        token = [("Authorization", f"Bearer {key.token(claims(cnf=bound))}")]
        assert ask(server, [*token, *told(header(client))]).status == 404
        assert_problem(ask(server, [*token, *told(header(thief))]), 401, "unauthenticated")
        assert_problem(ask(server, token), 401, "unauthenticated")

    def test_in_place_of_the_proxys_own(self, start: Start, ground: Ground) -> None:
        """A client without a certificate is nobody, though the proxy has one, and even if that one is some app's."""
        server = start(settings(ground))
        server.tls = ground.context(entitled(ground))
        answer = ask(server, [])
        other = ask(server, told(header(ground.authority.client("unmapped"))))
        server.tls = ground.context()
        assert_refused(server, answer, 401, "unauthenticated", "no_credential")
        assert_refused(server, other, 401, "unauthenticated", "unmapped_cert")


class TestNotTaken:
    def test_from_whom_is_not_listed(self, start: Start, ground: Ground) -> None:
        server = start(settings(ground, proxies='["192.0.2.1"]', names=f'proxy_names = ["{PROXY}"]'))
        answer = ask(server, told(header(entitled(ground))))
        row = assert_refused(server, answer, 401, "unauthenticated", "no_credential")
        assert row["untrusted_forwarding"] is True
        answer = ask(server, told("junk"), "payments")
        assert answer.status == 404
        row = server.row(answer)
        assert (row["method"], row["untrusted_forwarding"]) == ("api-key", True)

    def test_where_it_is_not_set_up(self, start: Start, ground: Ground) -> None:
        server = start(settings(ground, forwarded=False))
        answer = ask(server, told(header(entitled(ground))))
        row = assert_refused(server, answer, 401, "unauthenticated", "no_credential")
        assert row["untrusted_forwarding"] is True

    def test_the_own_certificate_of_a_proxy_that_asks_for_somebody(self, start: Start, ground: Ground) -> None:
        server = start(settings(ground, forwarded=False))
        server.tls = ground.context(entitled(ground))
        own = ask(server, [])
        forwarded = ask(server, [("X-Forwarded-For", "203.0.113.9")])
        with_key = ask(server, [("X-Forwarded-For", "203.0.113.9")], "billing")
        server.tls = ground.context()
        assert (own.status, server.row(own)["method"]) == (404, "mtls")
        assert_refused(server, forwarded, 401, "unauthenticated", "no_credential")
        assert (with_key.status, server.row(with_key)["app"]) == (404, "billing")

    @pytest.mark.parametrize("name", ["X-Client-Cert", "X-Forwarded-Client-Cert"])
    def test_in_any_other_form(self, start: Start, ground: Ground, name: str) -> None:
        server = start(settings(ground))
        answer = ask(server, [(name, header(entitled(ground)))])
        row = assert_refused(server, answer, 401, "unauthenticated", "no_credential")
        assert row["untrusted_forwarding"] is True


def test_a_certificate_that_is_not_good_is_refused_with_the_reason(
    start: Start, ground: Ground, tmp_path: Path
) -> None:
    authority = ground.authority
    (tmp_path / "elsewhere").mkdir()
    stranger = Authority(tmp_path / "elsewhere", "authority")
    revoked = entitled(ground, "revoked")
    authority.revoke(revoked)
    between = authority.client("no-authority")
    wrong = {
        "untrusted_cert": [
            told(header(stranger.client("untrusted", names=[uri(SPIFFE)]))),
            told(header(stranger.issued)),
            told(header(entitled(ground, "by-none", issuer=between)), between),
        ],
        "expired": [told(header(entitled(ground, "expired", since=-2 * DAY, until=-DAY)))],
        "not_yet_valid": [told(header(entitled(ground, "early", since=DAY)))],
        "eku": [
            told(header(entitled(ground, "for-servers", uses=[SERVER]))),
            told(header(entitled(ground, "no-eku", uses=[]))),
        ],
        "revoked": [told(header(revoked))],
        "unmapped_cert": [told(header(authority.client("unmapped", names=[dns("payments")])))],
    }
    server = start(settings(ground))
    for reason, headers in wrong.items():
        for each in headers:
            assert_problem(ask(server, each), 401, "unauthenticated")
            assert_problem(ask(server, each, "payments"), 401, "unauthenticated")
        expected = 2 * len(headers)
        query = f"operation=authenticate&reason={reason}"
        eventually(
            lambda query=query, expected=expected: sum(row["count"] for row in server.rows(query)) == expected, 5
        )
    assert ask(server, told(header(entitled(ground)))).status == 404
    server.assert_log_is_clean()


JUNK = {
    "an empty value": "",
    "no colons": "MIIB",
    "an empty certificate": "::",
    "no base64": ":!!!!:",
    "base64 of something else": ":AAAA:",
    "a token": "?1",
    "a string": '"MIIB"',
}


def test_what_is_no_certificate_is_bad_forwarding(start: Start, ground: Ground) -> None:
    server = start(settings(ground))
    good = header(entitled(ground))
    faults = {name: told(value) for name, value in JUNK.items()} | {
        "two in one line": told(f"{good}, {good}"),
        "two lines": [*told(good), *told(good)],
        "with a parameter": told(f"{good};x=1"),
        "without padding": told(":AA:"),
        "of two bytes more": told(f":{base64.b64encode(base64.b64decode(good[1:-1]) + b'ab').decode()}:"),
        "PEM": told("-----BEGIN CERTIFICATE-----"),
        "too large": told(f":{base64.b64encode(bytes(9000)).decode()}:"),
        "a chain alone": [("Client-Cert-Chain", good)],
        "a chain of five": told(good, *[ground.authority.issued] * 5),
        "junk in the chain": [*told(good), ("Client-Cert-Chain", f"{good}, junk")],
    }
    for name, headers in faults.items():
        assert_problem(ask(server, headers), 400, "bad-forwarding")
        assert_problem(ask(server, headers, "payments"), 400, "bad-forwarding")
        assert ask(server, told(good)).status == 404, name
    counted = eventually(
        lambda: (
            sum(row["count"] for row in server.rows("operation=authenticate&reason=bad_forwarding")) == 2 * len(faults)
        ),
        5,
    )
    assert counted
    server.assert_log_is_clean()


class TestKnownProxies:
    """What takes part in a handshake cannot be faked on a loopback address, so these lists have another network in it."""

    def test_settings_that_could_never_take_one_are_refused(self, start: Start, ground: Ground) -> None:
        for text in (
            settings(ground, proxies='["192.0.2.0/24"]'),
            settings(ground, proxies="[]"),
            settings(ground, client_cert=None),
            settings(ground, client_cert=None, names=f'proxy_names = ["{PROXY}"]'),
        ):
            with pytest.raises(AssertionError, match="forwarded_certificates"):
                start(text)
