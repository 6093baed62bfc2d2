"""Apps that are known by a client's certificate: over real handshakes, with Python and with curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_tls import Http2
from tests.support.certificates import CLIENT, DAY, SERVER, Authority, Issued, dns, uri
from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import VaultServer, eventually
from tests.support.tls import Ground, Start, ground, refused_handshake, rejected, start
from tests.support.wire import Answer, connected, exchange, read_answer, request_bytes

__all__ = ["ground", "start"]

SPIFFE = "spiffe://shop.example/payments"
MAPPED = f"""
[[auth.mtls]]
san_uri = "{SPIFFE}"
app = "payments"
purposes = ["card"]
"""


def ask(
    server: VaultServer, ground: Ground, client: Issued | None, who: str | None = None, method: str = "GET"
) -> Answer:
    """Ask for an entry that is not there, with a certificate (or none) and the key of an app (or none)."""
    server.tls = ground.context(client)
    return server.call(who, method, "/vault/card/none-such")


def entitled(ground: Ground, file: str = "payments") -> Issued:
    return ground.authority.client("payments", names=[uri(SPIFFE)], file=file)


def by(server: VaultServer, ground: Ground) -> None:
    """Let the server's own questions be asked over a connection without a certificate."""
    server.tls = ground.context()


class TestMapping:
    def test_an_app_is_known_by_its_certificate_alone(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(client_cert="optional") + MAPPED)
        client = entitled(ground)
        server.tls = ground.context(client)
        body = {"encrypted_value": MARKER}
        assert server.call(None, "PUT", "/vault/card/a", json_body=body).status == 201
        answer = server.call(None, "GET", "/vault/card/a")
        assert answer.json["encrypted_value"] == MARKER
        assert (answer.json["owner_app"], answer.json["owner_identity"]) == ("payments", SPIFFE)
        assert_problem(server.call(None, "GET", "/vault/ach/a"), 403, "access-denied")
        by(server, ground)
        row = server.row(answer)
        assert {name: row[name] for name in ("app", "identity", "method", "credential_id", "outcome")} == {
            "app": "payments",
            "identity": SPIFFE,
            "method": "mtls",
            "credential_id": f"x509:{client.thumbprint}",
            "outcome": "granted",
        }
        assert server.stop() == 0
        server.assert_log_is_clean([MARKER])

    def test_it_is_known_over_http2_as_well(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(client_cert="optional", more="http2 = true") + MAPPED)
        client = entitled(ground)
        with connected(server.address, 10, ground.context(client, "h2")) as connection:
            asking = Http2(connection)
            assert asking.ask("GET", "/vault/card/none-such", {})[0] == 404
            assert asking.ask("GET", "/vault/card/none-such", {"x-vault-key": server.key("billing")})[0] == 401
            ground.authority.revoke(client)
            server.hang_up()
            assert asking.ask("GET", "/vault/card/none-such", {})[0] == 401
        by(server, ground)
        rows = eventually(lambda: (found := server.rows("operation=authenticate"))[1:] and found)
        assert [row["reason"] for row in rows] == ["ambiguous", "revoked"]

    def test_a_role_comes_with_a_certificate_too(self, start: Start, ground: Ground) -> None:
        operator = ground.authority.client("operator", names=[dns("ops.example")])
        settings = ground.settings(client_cert="optional")
        server = start(settings + '[[auth.mtls]]\nsan_dns = "ops.example"\napp = "ops"\nroles = ["admin"]\n')
        server.tls = ground.context(operator)
        assert server.call(None, "GET", "/admin/access-log").status == 200
        assert_problem(server.call(None, "GET", "/vault/card/a"), 403, "access-denied")

    def test_what_is_mapped_is_read_again_on_a_hang_up(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(client_cert="optional") + MAPPED)
        client = entitled(ground)
        with connected(server.address, 10, ground.context(client)) as connection:
            raw = request_bytes("GET", "/vault/card/none-such", headers={"Connection": "keep-alive"})
            connection.sendall(raw)
            assert read_answer(connection).status == 404
            server.settings = server.settings.replace(SPIFFE, f"{SPIFFE}-next")
            server.hang_up()
            connection.sendall(raw)
            assert_problem(read_answer(connection), 401, "unauthenticated")


class TestRefused:
    def test_eight_kinds_do_not_get_in_and_are_on_record(self, start: Start, ground: Ground, tmp_path: Path) -> None:
        """Those that OpenSSL lets pass are refused by the vault; each says on the row why."""
        authority, names = ground.authority, [uri(SPIFFE)]
        (tmp_path / "elsewhere").mkdir()
        stranger = Authority(tmp_path / "elsewhere", "stranger")
        revoked = authority.client("revoked", names=names)
        authority.revoke(revoked)
        server = start(ground.settings(client_cert="optional") + MAPPED)
        wrong = {
            "untrusted": (stranger.client("u", names=names), "tls.reject:unable-to-get-local-issuer-certificate"),
            "self-signed": (stranger.issued, "tls.reject:self-signed-certificate"),
            "expired": (
                authority.client("expired", names=names, since=-2 * DAY, until=-DAY),
                "tls.reject:certificate-has-expired",
            ),
            "not yet valid": (
                authority.client("early", names=names, since=DAY),
                "tls.reject:certificate-is-not-yet-valid",
            ),
            "for servers": (
                authority.client("server", names=names, uses=[SERVER]),
                "tls.reject:unsuitable-certificate-purpose",
            ),
            "by no authority": (
                authority.client("n", names=names, issuer=authority.client("no-authority")),
                "tls.reject:unable-to-get-local-issuer-certificate",
            ),
            "revoked": (revoked, "tls.reject:certificate-revoked"),
            "for nothing in particular": (authority.client("no-eku", names=names, uses=[]), "eku"),
            "not mapped": (authority.client("unmapped", names=[uri(f"{SPIFFE}/other")]), "unmapped_cert"),
        }
        for name, (client, reason) in wrong.items():
            by(server, ground)
            before = len(server.rows("operation=authenticate"))
            if reason.startswith("tls.reject:"):
                refused_handshake(server, ground.context(client))
            else:
                assert_problem(ask(server, ground, client), 401, "unauthenticated")
            by(server, ground)
            rows = eventually(
                lambda before=before: (found := server.rows("operation=authenticate"))[before:] and found[before:]
            )
            assert [row["reason"] for row in rows] == [reason], name
            assert (rows[0]["app"], rows[0]["outcome"], rows[0]["status"]) == (None, "denied", 401), name
        assert ask(server, ground, entitled(ground)).status == 404
        by(server, ground)
        assert len(rejected(server)) == 7
        server.assert_log_is_clean()

    def test_a_good_key_beside_it_does_not_help(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(client_cert="optional") + MAPPED)
        unmapped = ground.authority.client("unmapped")
        answer = ask(server, ground, unmapped, "payments")
        by(server, ground)
        assert_refused(server, answer, 401, "unauthenticated", "unmapped_cert")

    def test_where_nothing_is_mapped_a_certificate_only_makes_the_connection(
        self, start: Start, ground: Ground
    ) -> None:
        server = start(ground.settings(client_cert="required"), ground.authority.client("any"))
        assert_problem(server.call(None, "GET", "/vault/card/none-such"), 401, "unauthenticated")
        answer = server.call("payments", "GET", "/vault/card/none-such")
        assert (answer.status, server.row(answer)["method"]) == (404, "api-key")

    def test_another_authoritys_certificate_of_the_same_name_is_nobodys(
        self, start: Start, ground: Ground, tmp_path: Path
    ) -> None:
        (tmp_path / "partner").mkdir()
        partner = Authority(tmp_path / "partner", "partner")
        both = tmp_path / "both.pem"
        both.write_bytes(ground.authority.cert_file.read_bytes() + partner.cert_file.read_bytes())
        lists = tmp_path / "lists.pem"
        lists.write_bytes(ground.crl_file.read_bytes() + partner.revoke().read_bytes())
        settings = (
            ground.settings(client_cert="optional")
            .replace(str(ground.authority.cert_file), str(both))
            .replace(str(ground.crl_file), str(lists))
        )
        mapped = (
            f'[[auth.mtls]]\ncommon_name = "payments"\napp = "payments"\nca_file = "{ground.authority.cert_file}"\n'
            f'purposes = ["card"]\n[[auth.mtls]]\ncommon_name = "shop"\napp = "shop"\nca_file = "{partner.cert_file}"\n'
            'purposes = ["card"]\n'
        )
        server = start(settings + mapped)
        assert ask(server, ground, ground.authority.client("payments", names=[])).status == 404
        assert ask(server, ground, partner.client("shop", names=[])).status == 404
        answers = [
            ask(server, ground, partner.client("payments", names=[])),
            ask(server, ground, ground.authority.client("shop", names=[])),
        ]
        by(server, ground)
        for answer in answers:
            assert_problem(answer, 401, "unauthenticated")
        rows = eventually(lambda: (found := server.rows("reason=unmapped_cert"))[1:] and found)
        assert len({row["credential_id"] for row in rows}) == 2

    def test_a_chain_over_an_issuing_authority_is_followed_to_the_one_that_is_pinned(
        self, start: Start, ground: Ground
    ) -> None:
        authority = ground.authority
        issuing, other = authority.below("issuing"), authority.below("other-issuing")
        settings = "\n".join(
            line for line in ground.settings(client_cert="optional").splitlines() if "crl_file" not in line
        )
        server = start(f'{settings}\n{MAPPED}ca_file = "{issuing.cert_file}"\n')
        for issuer, status in ((issuing, 404), (other, 401), (None, 401)):
            client = authority.client("payments", names=[uri(SPIFFE)], issuer=issuer)
            if issuer:
                client.cert_file.write_bytes(client.cert_file.read_bytes() + issuer.cert_file.read_bytes())
            assert ask(server, ground, client).status == status

    def test_one_that_is_revoked_is_out_at_its_next_request(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(client_cert="optional") + MAPPED)
        client = entitled(ground)
        with connected(server.address, 10, ground.context(client)) as connection:
            raw = request_bytes("GET", "/vault/card/none-such", headers={"Connection": "keep-alive"})
            connection.sendall(raw)
            assert read_answer(connection).status == 404
            ground.authority.revoke(client)
            server.hang_up()
            connection.sendall(raw)
            answer = read_answer(connection)
        by(server, ground)
        assert_refused(server, answer, 401, "unauthenticated", "revoked")
        assert [row["credential_id"] for row in server.rows("reason=revoked")] == [f"x509:{client.thumbprint}"]


class TestTogether:
    def test_a_key_of_the_same_app_and_a_certificate_grant_what_both_grant(self, start: Start, ground: Ground) -> None:
        narrow = MAPPED.replace('["card"]', '["card", "ach"]') + 'roles = ["auditor"]\n'
        server = start(ground.settings(client_cert="optional") + narrow)
        server.retention("ach")
        client = entitled(ground)
        server.tls = ground.context(client)
        assert server.call(None, "GET", "/vault/ach/none-such").status == 404
        assert server.call(None, "GET", "/admin/access-log").status == 200
        assert_problem(server.call("payments", "GET", "/vault/ach/none-such"), 403, "access-denied")
        assert_problem(server.call("payments", "GET", "/admin/access-log"), 403, "role-required")
        answer = server.call("payments", "GET", "/vault/card/none-such")
        by(server, ground)
        row = server.row(answer)
        assert (row["status"], row["method"], row["identity"]) == (404, "api-key", SPIFFE)

    def test_a_key_of_another_app_is_ambiguous(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(client_cert="optional") + MAPPED)
        answer = ask(server, ground, entitled(ground), "billing")
        by(server, ground)
        assert_refused(server, answer, 401, "ambiguous-credentials", "ambiguous")

    def test_a_bad_key_beside_a_good_certificate_is_refused(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(client_cert="optional") + MAPPED)
        server.tls = ground.context(entitled(ground))
        answer = server.call(None, "GET", "/vault/card/none-such", headers={"X-Vault-Key": "guess"})
        by(server, ground)
        assert_refused(server, answer, 401, "unauthenticated", "bad_key")


@pytest.fixture
def curl(ground: Ground) -> Callable[..., tuple[int, Any]]:
    found = shutil.which("curl")
    if found is None:
        pytest.skip("this machine has no curl")

    def run(server: VaultServer, client: Issued | None, *arguments: str) -> tuple[int, Any]:
        """Return curl's exit code and the status of the answer, 0 where there is none."""
        mine = ["--cert", str(client.cert_file), "--key", str(client.key_file)] if client else []
        url = f"https://localhost:{server.address[1]}/vault/card/a"
        done = subprocess.run(
            [found, "--silent", "--max-time", "20", "--cacert", str(ground.authority.cert_file), *mine,
             "--resolve", f"localhost:{server.address[1]}:127.0.0.1", "--output", "/dev/null",
             "--write-out", "%{json}", *arguments, url],
            capture_output=True,
            check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout)["http_code"]

    return run


def test_curl_gets_in_with_the_right_certificate_alone(
    start: Start, ground: Ground, curl: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    authority, names = ground.authority, [uri(SPIFFE)]
    (tmp_path / "elsewhere").mkdir()
    stranger = Authority(tmp_path / "elsewhere", "stranger")
    revoked = authority.client("revoked", names=names)
    authority.revoke(revoked)
    server = start(ground.settings(client_cert="optional") + MAPPED)
    put = ("--request", "PUT", "--json", json.dumps({"encrypted_value": MARKER}))
    assert curl(server, entitled(ground, "mine"), *put) == (0, 201)
    assert curl(server, entitled(ground, "mine")) == (0, 200)
    refused = {
        "untrusted": stranger.client("untrusted", names=names),
        "self-signed": stranger.issued,
        "expired": authority.client("expired", names=names, since=-2 * DAY, until=-DAY),
        "not yet valid": authority.client("early", names=names, since=DAY),
        "for servers": authority.client("for-servers", names=names, uses=[SERVER]),
        "by no authority": authority.client("none", names=names, issuer=authority.client("no-authority")),
        "revoked": revoked,
    }
    for name, client in refused.items():
        code, status = curl(server, client)
        assert code != 0, name
        assert status == 0, name
    assert curl(server, authority.client("no-eku", names=names, uses=[])) == (0, 401)
    assert curl(server, authority.client("unmapped", names=[uri(f"{SPIFFE}x")], uses=[CLIENT, SERVER])) == (0, 401)
    assert curl(server, None) == (0, 401)
    assert len(eventually(lambda: (found := rejected(server))[6:] and found)) == 7


def test_a_refused_certificate_keeps_the_answer_of_any_refused_credential(start: Start, ground: Ground) -> None:
    """Nothing tells a caller apart who has the wrong certificate from one who has the wrong key.

    A caller who sends no credential also learns what to send.
    """
    server = start(ground.settings(client_cert="optional") + MAPPED)
    answers = []
    for client, headers in (
        (ground.authority.client("unmapped"), {}),
        (ground.authority.client("no-eku", names=[uri(SPIFFE)], uses=[]), {}),
        (None, {"X-Vault-Key": "guess"}),
        (None, {}),
    ):
        raw = request_bytes("GET", "/vault/card/none-such", headers=headers)
        answers.append(exchange(server.address, raw, tls=ground.context(client)))
    *documents, without = [{**answer.json, "request_id": None} for answer in answers]
    assert documents == documents[:1] * len(documents)
    assert without.pop("detail").startswith("send a credential in the header X-Vault-Key")
    assert without == documents[0]
    assert {answer.header("www-authenticate") for answer in answers} == {answers[0].header("www-authenticate")}
