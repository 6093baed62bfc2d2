"""Tokens over HTTP: which are accepted, what the others get, and the reason on the audit row."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.bad_tokens import EC, P384, PUBLISHED, ROWS, signed
from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER, NewDatabase, served
from tests.support.server import VaultServer, eventually
from tests.support.together import in_parallel
from tests.support.tokens import ISSUER, Provider, SigningKey, claims, jwks, provider
from tests.support.wire import Answer

Start = Callable[..., VaultServer]
NOT_ON_THE_WIRE = {"a line break"}
"""A field value cannot hold it."""


def issuer_settings(keys: Provider, **settings: str) -> str:
    lines = {
        "issuer": f'"{ISSUER}"',
        "audience": '"vault"',
        "jwks_url": f'"{keys.url}"',
        "purposes_claim": '"purposes"',
        "roles_claim": '["realm_access", "roles"]',
        "roles_prefix": '"vault-"',
        "unknown_kid_cooldown_seconds": "1",
        **settings,
    }
    return "[[auth.jwt]]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())


@pytest.fixture(scope="module")
def keys() -> Iterator[Provider]:
    with provider() as made:
        made.document = PUBLISHED
        yield made


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase, keys: Provider) -> Iterator[VaultServer]:
    directory = tmp_path_factory.mktemp("tokens")
    yield from served(directory, new_database(directory), issuer_settings(keys))


@pytest.fixture
def own_keys() -> Iterator[Provider]:
    with provider() as made:
        made.document = jwks(EC)
        yield made


def bearer(token: str | None = None, **members: Any) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {EC.token(claims(**members)) if token is None else token}")]


def ask(server: VaultServer, token: str | None = None, **members: Any) -> Answer:
    return server.call(None, "GET", "/vault/card/none-such", headers=bearer(token, **members))


def test_a_token_stores_and_retrieves_as_its_app_and_the_rows_say_which(vault: VaultServer) -> None:
    put = vault.call(
        None, "PUT", "/vault/card/by-token", headers=bearer(jti="put-1"), json_body={"encrypted_value": MARKER}
    )
    assert put.status == 201
    assert (put.json["owner_app"], put.json["owner_identity"]) == ("payments", "service-account-payments")
    got = vault.call(None, "GET", "/vault/card/by-token", headers=bearer(jti="get-1"))
    assert (got.status, got.json["encrypted_value"]) == (200, MARKER)
    row = vault.row(got)
    assert (row["app"], row["identity"], row["method"], row["credential_id"]) == (
        "payments", "service-account-payments", "jwt", "login.example#jti:get-1",
    )  # fmt: skip


def test_a_key_and_a_token_of_one_app_are_one_app(vault: VaultServer) -> None:
    vault.stored("payments", "card/by-key", MARKER)
    assert vault.call(None, "GET", "/vault/card/by-key", headers=bearer()).status == 200
    assert vault.call("payments", "GET", "/vault/card/by-key", headers=bearer()).status == 200


def test_a_purpose_that_is_not_in_the_claim_is_not_held(vault: VaultServer) -> None:
    answer = vault.call(None, "GET", "/vault/ach/none-such", headers=bearer())
    assert_refused(vault, answer, 403, "access-denied", "purpose-not-held")
    answer = vault.call(None, "GET", "/vault/card/none-such", headers=bearer(purposes=None))
    assert_refused(vault, answer, 403, "access-denied", "purpose-not-held")
    answer = vault.call(None, "GET", "/vault/card/none-such", headers=bearer(purposes=["*"]))
    assert_refused(vault, answer, 403, "access-denied", "purpose-not-held")


def test_a_role_is_one_that_the_claim_lists(vault: VaultServer) -> None:
    with_role = bearer(realm_access={"roles": ["vault-auditor", "uma_authorization"]})
    assert vault.call(None, "GET", "/admin/access-policies", headers=with_role).status == 200
    without = vault.call(None, "GET", "/admin/access-policies", headers=bearer(realm_access={"roles": ["auditor"]}))
    assert_refused(vault, without, 403, "role-required", "role")


def test_whatever_is_wrong_with_a_token_the_answer_is_the_same_and_the_row_says_it(vault: VaultServer) -> None:
    before = refusals(vault)
    answers, expected = set(), Counter[str]()
    for name, (make, why) in ROWS.items():
        if name in NOT_ON_THE_WIRE:
            continue
        answer = ask(vault, make(time.time()))
        assert (name, answer.status) == (name, 401)
        assert_problem(answer, 401, "unauthenticated")
        assert answer.header("www-authenticate") == 'ApiKey realm="vsqlvault", Bearer realm="vsqlvault"'
        headers = tuple(f"{key}={value}" for key, value in answer.headers if key not in {"x-request-id", "date"})
        answers.add((answer.body.replace(answer.request_id.encode(), b""), headers))
        expected[why] += 1
    assert len(answers) == 1
    eventually(lambda: refusals(vault) - before == expected, 6)


def refusals(server: VaultServer) -> Counter[str]:
    """Return the rows of status 401 by reason. Other tests of the same vault leave rows of status 400."""
    counted = Counter[str]()
    for row in server.rows("operation=authenticate&outcome=denied"):
        assert row["app"] is None
        if row["status"] == 401:
            counted[row["reason"]] += row["count"]
    return counted


def test_the_answer_to_a_bad_token_is_that_to_a_bad_key(vault: VaultServer) -> None:
    key = vault.call(None, "GET", "/vault/card/none-such", headers=[("X-Vault-Key", "wrong")])
    token = ask(vault, "wrong")
    assert key.body.replace(key.request_id.encode(), b"") == token.body.replace(token.request_id.encode(), b"")
    assert key.header("www-authenticate") == token.header("www-authenticate")


def test_a_token_that_was_bad_after_its_signature_is_named_on_its_row(vault: VaultServer) -> None:
    ask(vault, exp=time.time() - 60, iat=None, jti="over-and-done")
    (row,) = vault.rows("operation=authenticate&credential_id=login.example%23jti:over-and-done")
    assert row["reason"] == "expired"


class TestTogether:
    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    def test_the_scheme_is_read_in_any_case(self, vault: VaultServer, scheme: str) -> None:
        headers = [("Authorization", f"{scheme} {EC.token(claims())}")]
        assert vault.call(None, "GET", "/vault/card/none-such", headers=headers).status == 404

    def test_a_key_and_a_token_of_two_apps_are_refused(self, vault: VaultServer) -> None:
        answer = vault.call("billing", "GET", "/vault/card/none-such", headers=bearer())
        assert_problem(answer, 401, "ambiguous-credentials")

    @pytest.mark.parametrize(
        ("who", "headers"),
        [
            ("payments", [("Authorization", "Bearer x")]),
            ("payments", [("Authorization", "Basic x")]),
            ("expired", bearer()),
        ],
        ids=["a bad token", "an unknown scheme", "a bad key"],
    )
    def test_a_bad_credential_is_refused_beside_a_good_one(self, vault: VaultServer, who: str, headers: Any) -> None:
        assert_problem(vault.call(who, "GET", "/vault/card/none-such", headers=headers), 401, "unauthenticated")

    def test_two_tokens_are_refused_even_if_they_are_one(self, vault: VaultServer) -> None:
        answer = vault.call(None, "GET", "/vault/card/none-such", headers=bearer() * 2)
        assert_problem(answer, 400, "duplicate-header")

    def test_a_token_in_a_url_does_not_count_and_is_named_on_the_row(self, vault: VaultServer) -> None:
        token = EC.token(claims(jti="leaked-1"))
        answer = vault.call("payments", "GET", f"/vault/card/none-such?access_token={token}")
        row = assert_refused(vault, answer, 400, "credential-in-url", "credential_in_url")
        assert row["detail"] == "in the URL: login.example#jti:leaked-1"
        assert vault.call(None, "GET", f"/vault/card/none-such?access_token={token}").status == 400

    def test_no_token_is_in_the_log(self, vault: VaultServer) -> None:
        tokens = [EC.token(claims()), EC.token(claims(exp=5)), P384.token(claims())]
        for token in tokens:
            ask(vault, token)
        for line in vault.log_lines():
            assert not [token for token in tokens if token.split(".")[2] in line]


class TestKeys:
    def test_a_provider_that_is_down_stops_nobody_else(self, another_vault: Start, own_keys: Provider) -> None:
        own_keys.stop()
        server = another_vault(settings=issuer_settings(own_keys))
        assert server.get("payments", "card/none-such").status == 404
        answer = ask(server)
        assert_problem(answer, 503, "auth-unavailable")
        assert answer.header("retry-after") == "5"
        (row,) = eventually(lambda: server.rows("reason=auth_unavailable"), 4)
        assert (row["operation"], row["outcome"], row["status"], row["app"]) == ("authenticate", "denied", 503, None)
        server.wait_for_line(lambda line: line["message"].startswith("JWKS cannot be loaded: no token"))
        own_keys.start()
        server.hang_up()
        assert ask(server).status == 404

    def test_a_provider_that_is_slow_delays_nobody_else(self, another_vault: Start, own_keys: Provider) -> None:
        """Nor the end of the server, which comes while it is still waited for."""
        own_keys.delay_seconds = 30
        server = another_vault(settings=issuer_settings(own_keys))
        slow, *others = in_parallel(
            [lambda: ask(server), *[lambda: server.get("payments", "card/none-such")] * 20], threads=8
        )
        assert_problem(slow, 503, "auth-unavailable")
        assert {answer.status for answer in others} == {404}
        assert own_keys.fetches == 1
        assert server.stop() == 0
        server.assert_log_is_clean()

    def test_keys_rotate_and_a_withdrawn_one_is_out_after_a_sighup(
        self, another_vault: Start, own_keys: Provider
    ) -> None:
        server = another_vault(settings=issuer_settings(own_keys))
        old, new = EC.token(claims()), SigningKey("RS256", "next")
        assert ask(server, old).status == 404
        loaded = server.wait_for_line(lambda line: line["message"] == "JWKS loaded")
        assert (loaded["issuer"], loaded["keys"]) == (ISSUER, 1)
        own_keys.document = jwks(EC, new)
        eventually(lambda: ask(server, new.token(claims())).status == 404, 5)
        assert ask(server, old).status == 404
        own_keys.document = jwks(new)
        server.hang_up()
        assert_problem(ask(server, old), 401, "unauthenticated")
        assert ask(server, new.token(claims())).status == 404
        assert own_keys.fetches <= 4

    def test_a_flood_of_unknown_keys_is_one_fetch(self, another_vault: Start, own_keys: Provider) -> None:
        server = another_vault(settings=issuer_settings(own_keys, unknown_kid_cooldown_seconds="60"))
        tokens = [EC.token(claims(), {"kid": f"bogus-{number}"}) for number in range(100)]
        answers = in_parallel([lambda token=token: ask(server, token) for token in tokens], threads=8)  # type: ignore[misc]
        assert {answer.status for answer in answers} == {401}
        assert own_keys.fetches == 1
        assert ask(server).status == 404
        eventually(lambda: sum(row["count"] for row in server.rows("reason=kid")) == 100, 20)


def test_a_process_that_is_locked_in_reaches_its_provider(another_vault: Start, own_keys: Provider) -> None:
    """Where the kernel has Landlock; elsewhere this shows no more than that it starts."""
    own_keys.discovery = {"issuer": own_keys.origin, "jwks_uri": own_keys.url}
    lines = issuer_settings(own_keys, issuer=f'"{own_keys.origin}"').replace(f'jwks_url = "{own_keys.url}"\n', "")
    server = another_vault(settings=lines + '[hardening]\nlandlock = "auto"\n')
    assert ask(server, iss=own_keys.origin).status == 404


class TestReload:
    def test_an_issuer_comes_and_goes_without_a_restart(self, another_vault: Start, own_keys: Provider) -> None:
        opened = f"[hardening]\nconnect_ports = [{urlsplit(own_keys.url).port}]\n"
        server = another_vault(settings=opened)
        assert_problem(ask(server), 401, "unauthenticated")
        server.settings = issuer_settings(own_keys) + opened
        server.hang_up()
        assert ask(server).status == 404
        server.settings = ""
        server.hang_up()
        assert_problem(ask(server), 401, "unauthenticated")
        eventually(lambda: sum(row["count"] for row in server.rows("reason=unknown_scheme")) == 2, 4)

    def test_settings_that_cannot_be_used_change_nothing(self, another_vault: Start, own_keys: Provider) -> None:
        server = another_vault(settings=issuer_settings(own_keys))
        assert ask(server).status == 404
        for bad in (
            issuer_settings(own_keys, leeway_seconds="9999"),
            issuer_settings(own_keys).replace("jwks_url", "jwks_file"),
        ):
            server.settings = bad
            server.write_config()
            seen = len(server.log_lines())
            server.signal(signal.SIGHUP)
            eventually(lambda seen=seen: any("reload refused" in line for line in server.log_lines()[seen:]))
            assert ask(server).status == 404


def test_the_keys_may_stand_in_a_file(another_vault: Start, tmp_path: Path, own_keys: Provider) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(jwks(EC))
    settings = issuer_settings(own_keys).replace(f'jwks_url = "{own_keys.url}"', f'jwks_file = "{file}"')
    server = another_vault(settings=settings)
    assert ask(server, signed(time.time())).status == 404
    assert own_keys.fetches == 0
