"""What a token has to be, and what it then says."""

from __future__ import annotations

import hashlib
import hmac
import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.support.bad_tokens import CERTIFICATE, EC, ED, P384, PEM, PSS, PUBLISHED, ROWS, RSA, THUMBPRINT, spoilt
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey, b64, claims, hmac_token, jwks
from vsqlvault.errors import CredentialRefused
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.model.principal import Principal, Role
from vsqlvault_plugins.auth.jwt.plugin import JwtAuthenticator
from vsqlvault_plugins.auth.jwt.settings import JwtTable

NOW = 1_800_000_000.0


def good(**members: Any) -> dict[str, Any]:
    return claims(NOW, **members)


class Desk:
    """An authenticator with keys in a file, and a clock that stands still."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = NOW

    def authenticator(
        self, published: bytes = PUBLISHED, max_remembered: int = 4096, **settings: Any
    ) -> JwtAuthenticator:
        file = self.directory / "keys.json"
        file.write_bytes(published)
        table = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(file), **settings}
        auth = JwtTable.model_validate({"jwt": [table]})
        return JwtAuthenticator(auth, now=lambda: self.now, max_remembered=max_remembered)

    async def recognised(
        self, token: str, *, certificate: bytes | None = None, published: bytes = PUBLISHED, **settings: Any
    ) -> Principal:
        return await ask(self.authenticator(published, **settings), token, certificate)

    async def refused(self, token: str, why: str, **how: Any) -> CredentialRefused:
        with pytest.raises(CredentialRefused) as refused:
            await self.recognised(token, **how)
        assert refused.value.why == why
        return refused.value


async def ask(authenticator: JwtAuthenticator, token: str, certificate: bytes | None = None) -> Principal:
    found = authenticator.authenticate(Presented({"authorization": f"Bearer {token}"}, client_certificate=certificate))
    principal = await found if inspect.isawaitable(found) else found
    assert principal is not None
    return principal


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


class TestGood:
    @pytest.mark.parametrize("key", [EC, RSA, PSS, ED], ids=lambda key: key.algorithm)
    async def test_a_token_of_each_usual_algorithm_names_its_app(self, desk, key) -> None:
        principal = await desk.recognised(key.token(good()))
        assert principal == Principal(
            "payments", "jwt", "login.example#jti:token-1", "service-account-payments", frozenset(), frozenset()
        )

    @pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS384", "PS512", "ES384", "ES512", "Ed25519"])
    async def test_the_other_algorithms_are_there_for_who_asks_for_them(self, desk, algorithm) -> None:
        key = SigningKey(algorithm)
        principal = await desk.recognised(key.token(good()), published=jwks(key), algorithms=[algorithm])
        assert principal.app == "payments"

    async def test_a_key_that_calls_itself_eddsa_verifies_both_names(self, desk) -> None:
        for header in ("EdDSA", "Ed25519"):
            token = ED.token(good(), {"alg": header})
            assert (await desk.recognised(token, published=jwks(ED.jwk(alg="EdDSA")))).app == "payments"

    async def test_the_scheme_is_read_in_any_case(self, desk) -> None:
        authenticator = desk.authenticator()
        found = authenticator.authenticate(Presented({"authorization": f"bEARER  {EC.token(good())}"}))
        assert inspect.isawaitable(found)
        assert (await found).app == "payments"

    async def test_a_token_without_kid_is_of_the_only_key(self, desk) -> None:
        token = EC.token(good(), {"kid": None})
        assert (await desk.recognised(token, published=jwks(EC))).app == "payments"
        assert (await desk.recognised(token, published=jwks(EC.jwk(kid=None)))).app == "payments"

    async def test_keys_that_share_a_kid_are_distinguished_by_algorithm(self, desk) -> None:
        published = jwks(EC.jwk(kid="one"), RSA.jwk(kid="one"))
        for key in (EC, RSA):
            assert (await desk.recognised(key.token(good(), {"kid": "one"}), published=published)).app == "payments"

    async def test_what_a_header_says_beyond_that_is_ignored(self, desk) -> None:
        token = EC.token(good(), {"x5t": "abc", "nonce": 5, "cty": "json"})
        assert (await desk.recognised(token)).app == "payments"

    async def test_without_a_jti_the_token_is_named_by_its_hash(self, desk) -> None:
        token = EC.token(good(jti=None))
        digest = hashlib.sha256(token.encode()).hexdigest()
        assert (await desk.recognised(token)).credential_id == f"login.example#sha256:{digest[:12]}"

    @pytest.mark.parametrize("jti", ["x" * 129, "a\nb", 5, "", "\ud800"])
    async def test_a_jti_that_cannot_be_shown_is_not(self, desk, jti) -> None:
        assert "#sha256:" in (await desk.recognised(EC.token(good(jti=jti)))).credential_id

    @pytest.mark.parametrize(("size", "why"), [(512, None), (513, "oversize")])
    async def test_a_header_has_at_most_512_bytes(self, desk, size, why) -> None:
        start = b'{"alg":"ES256","kid":"key-1","x":"'
        token = EC.token(good(), start + b"y" * (size - len(start) - 2) + b'"}')
        if why:
            await desk.refused(token, why)
        else:
            assert (await desk.recognised(token)).app == "payments"

    async def test_a_token_has_at_most_8192_characters(self, desk) -> None:
        bare = len(signed(pad=""))
        token = signed(pad="x" * ((8192 - bare) * 3 // 4 - 4))
        assert 8180 < len(token) <= 8192
        assert (await desk.recognised(token)).app == "payments"

    async def test_where_there_is_no_issuer_no_token_is_its_own(self) -> None:
        authenticator = JwtAuthenticator(JwtTable())
        assert authenticator.authenticate(Presented({"authorization": f"Bearer {EC.token(good())}"})) is None


def signed(header: dict[str, Any] | bytes | None = None, key: SigningKey = EC, **members: Any) -> str:
    return key.token(good(**members), header)


@pytest.mark.parametrize(("make", "why"), ROWS.values(), ids=ROWS.keys())
async def test_a_token_that_is_wrong_is_refused_under_its_reason(desk, make, why) -> None:
    await desk.refused(make(NOW), why)


async def test_what_is_refused_before_its_signature_is_verified_is_not_named(desk) -> None:
    assert (await desk.refused(signed({"alg": "none"}), "alg")).credential_id is None
    assert (await desk.refused(SigningKey().token(good()), "signature")).credential_id is None


async def test_what_is_refused_after_that_is_named(desk) -> None:
    for token in (signed(exp=NOW - 31), signed(aud="x"), signed(sub=""), signed(cnf={})):
        with pytest.raises(CredentialRefused) as refused:
            await desk.recognised(token)
        assert refused.value.credential_id == "login.example#jti:token-1"


def numbers(r: int, s: int, size: int = 32) -> str:
    return b64(r.to_bytes(size, "big") + s.to_bytes(size, "big"))


N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256."""


class TestSignatures:
    """Signatures that careless verifiers take, as the known vectors for JWS and ECDSA have them."""

    @pytest.mark.parametrize(
        ("r", "s"),
        [(0, 0), (0, 1), (1, 0), (1, 1), (N, N), (N, 0), (0, N), (N - 1, 1), (N + 1, 1), (1, N + 1)],
        ids=str,
    )
    async def test_the_numbers_of_an_ecdsa_signature_are_checked(self, desk, r, s) -> None:
        await desk.refused(spoilt(signed(), 2, lambda _: numbers(r, s)), "signature")

    @pytest.mark.parametrize("cut", [0, 1, 31, 32, 63, 65, 96])
    async def test_an_ecdsa_signature_has_its_length(self, desk, cut) -> None:
        token = signed()
        full = EC.signature(token.rpartition(".")[0].encode())
        await desk.refused(spoilt(token, 2, lambda _: b64((full * 2)[:cut])), "signature")

    async def test_an_ecdsa_signature_in_der_is_none(self, desk) -> None:
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        token = signed()
        der = EC.private.sign(token.rpartition(".")[0].encode(), ec.ECDSA(hashes.SHA256()))
        await desk.refused(spoilt(token, 2, lambda _: b64(der)), "signature")

    async def test_the_other_root_of_an_ecdsa_signature_is_another_text_of_no_more_use(self, desk) -> None:
        token = signed()
        full = EC.signature(token.rpartition(".")[0].encode())
        r, s = (int.from_bytes(half, "big") for half in (full[:32], full[32:]))
        principal = await desk.recognised(spoilt(token, 2, lambda _: numbers(r, N - s)))
        assert principal.credential_id == "login.example#jti:token-1"

    async def test_an_rsa_signature_with_another_hash_is_none(self, desk) -> None:
        token = RSA.token(good())
        signing_input = token.rpartition(".")[0].encode()
        for algorithm in ("RS384", "RS512", "PS256", "PS512"):
            await desk.refused(
                spoilt(token, 2, lambda _, a=algorithm: b64(RSA.signature(signing_input, a))), "signature"
            )

    @pytest.mark.parametrize(
        "change", [lambda s: s[:-1], lambda s: s + b"\0", lambda s: b"\0" + s, lambda s: bytes(256)]
    )
    async def test_an_rsa_signature_has_its_length_and_value(self, desk, change) -> None:
        token = RSA.token(good())
        full = RSA.signature(token.rpartition(".")[0].encode())
        await desk.refused(spoilt(token, 2, lambda _: b64(change(full))), "signature")

    async def test_a_key_for_one_rsa_scheme_is_not_for_the_other(self, desk) -> None:
        token = RSA.token(good(), algorithm="PS256")
        await desk.refused(token, "alg", published=jwks(RSA.jwk(alg="RS256")))
        assert (await desk.recognised(token, published=jwks(RSA))).app == "payments"

    async def test_the_key_of_another_curve_is_not_tried(self, desk) -> None:
        token = P384.token(good(), {"alg": "ES256"})
        await desk.refused(token, "alg", algorithms=["ES256", "ES384"])

    async def test_the_forgeries_by_hmac_would_pass_where_hmac_is_taken(self) -> None:
        token = hmac_token(good(), PEM, kid="rsa")
        signing_input, _, signature = token.rpartition(".")
        assert signature == b64(hmac.new(PEM, signing_input.encode(), "sha256").digest())

    async def test_two_keys_that_fit_are_one_too_many(self, desk) -> None:
        other = SigningKey("ES256", "key-1")
        await desk.refused(signed(), "kid", published=jwks(EC, other))


class TestTimes:
    @pytest.mark.parametrize(
        "members",
        [
            {"exp": NOW - 29},
            {"nbf": NOW + 29},
            {"iat": NOW + 29},
            {"exp": NOW + 86400},
            {"exp": NOW + 60.5},
            {"iat": None},
        ],
    )
    async def test_at_the_bounds_it_is_good(self, desk, members) -> None:
        assert (await desk.recognised(signed(**members))).app == "payments"

    async def test_the_bounds_are_settings(self, desk) -> None:
        await desk.refused(signed(exp=NOW - 1), "expired", leeway_seconds=0)
        await desk.refused(signed(exp=NOW + 301), "lifetime", max_lifetime_seconds=300)

    async def test_a_token_that_was_good_is_refused_once_it_is_over(self, desk) -> None:
        authenticator = desk.authenticator()
        token = signed()
        await ask(authenticator, token)
        desk.now = NOW + 329
        await ask(authenticator, token)
        desk.now = NOW + 330
        with pytest.raises(CredentialRefused) as refused:
            await ask(authenticator, token)
        assert (refused.value.why, refused.value.credential_id) == ("expired", "login.example#jti:token-1")


class TestAudience:
    async def test_others_are_taken_where_they_are_written_down(self, desk) -> None:
        token = signed(aud=["account", "vault"])
        assert (await desk.recognised(token, other_audiences=["account"])).app == "payments"
        assert (await desk.recognised(token, other_audiences=["*"])).app == "payments"
        await desk.refused(signed(aud=["account", "vault", "more"]), "aud", other_audiences=["account"])

    async def test_another_one_alone_is_never_enough(self, desk) -> None:
        await desk.refused(signed(aud="account"), "aud", other_audiences=["account"])
        await desk.refused(signed(aud="account"), "aud", other_audiences=["*"])


class TestType:
    @pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
    async def test_these_are_taken(self, desk, typ) -> None:
        assert (await desk.recognised(signed({"typ": typ}))).app == "payments"

    async def test_access_tokens_alone_can_be_asked_for(self, desk) -> None:
        assert (await desk.recognised(signed({"typ": "application/AT+JWT"}), typ="at+jwt")).app == "payments"
        for typ in ("JWT", None):
            await desk.refused(signed({"typ": typ}), "typ", typ="at+jwt")


class TestApp:
    @pytest.mark.parametrize(
        ("members", "app"),
        [
            ({"client_id": "a", "azp": "b", "sub": "c"}, "a"),
            ({"client_id": None, "azp": "b", "sub": "c"}, "b"),
            ({"client_id": None, "azp": None, "sub": "c"}, "c"),
        ],
    )
    async def test_it_is_the_first_claim_that_is_there(self, desk, members, app) -> None:
        assert (await desk.recognised(signed(**members))).app == app

    async def test_one_claim_can_be_named_and_then_no_other_will_do(self, desk) -> None:
        assert (await desk.recognised(signed(azp="shop"), app_claim="azp")).app == "shop"
        await desk.refused(signed(), "app", app_claim="azp")

    async def test_a_claim_can_stand_in_another(self, desk) -> None:
        token = signed(act={"client": "deep"})
        assert (await desk.recognised(token, app_claim=["act", "client"])).app == "deep"
        await desk.refused(signed(act="deep"), "app", app_claim=["act", "client"])

    async def test_a_prefix_and_a_list_bound_what_an_issuer_can_name(self, desk) -> None:
        assert (await desk.recognised(signed(), app_prefix="shop:")).app == "shop:payments"
        assert (await desk.recognised(signed(), apps=["payments"])).app == "payments"
        await desk.refused(signed(), "app", apps=["billing"])

    async def test_no_token_names_the_vault_itself(self, desk) -> None:
        await desk.refused(signed(client_id="vsqlvault"), "app")
        await desk.refused(signed(client_id="vsqlvault"), "app", apps=["vsqlvault"])


class TestGrants:
    @pytest.mark.parametrize(
        ("claim", "held"),
        [
            (["card", "ach"], {"card", "ach"}),
            ("card ach", {"card", "ach"}),
            ("openid email https://x/.default card", {"openid", "email", "card"}),
            ([], set()),
            ("", set()),
            (None, set()),
            (["*"], set()),
            (["Card!"], set()),
        ],
    )
    async def test_purposes_are_what_the_claim_lists(self, desk, claim, held) -> None:
        assert (await desk.recognised(signed(purposes=claim), purposes_claim="purposes")).purposes == held

    async def test_a_prefix_tells_purposes_from_other_scopes(self, desk) -> None:
        token = signed(scope="openid vault:card vault:ach")
        principal = await desk.recognised(token, purposes_claim="scope", purposes_prefix="vault:")
        assert principal.purposes == {"card", "ach"}

    async def test_every_purpose_is_granted_only_where_that_is_allowed(self, desk) -> None:
        settings = {"purposes_claim": "purposes", "allow_all_purposes": True}
        assert (await desk.recognised(signed(purposes=["*"]), **settings)).purposes is None
        assert (await desk.recognised(signed(purposes=None), **settings)).purposes == set()

    async def test_roles_are_those_there_are(self, desk) -> None:
        token = signed(realm_access={"roles": ["vault-admin", "vault-auditor", "vault-other", "admin"]})
        settings: dict[str, Any] = {"roles_claim": ["realm_access", "roles"], "roles_prefix": "vault-"}
        assert (await desk.recognised(token, **settings)).roles == {Role.ADMIN, Role.AUDITOR}
        assert (await desk.recognised(token)).roles == set()

    @pytest.mark.parametrize("claim", [5, {"card": True}, ["card", 5], True])
    async def test_a_grant_that_is_no_list_of_texts_refuses_the_token(self, desk, claim) -> None:
        await desk.refused(signed(purposes=claim), "purposes", purposes_claim="purposes")
        await desk.refused(signed(roles=claim), "roles", roles_claim="roles")

    async def test_the_identity_is_of_the_claim_that_is_named(self, desk) -> None:
        token = signed(email="jane@shop.example")
        assert (await desk.recognised(token, identity_claim="email")).identity == "jane@shop.example"
        await desk.refused(signed(), "sub", identity_claim="email")


class TestCertificateBinding:
    async def test_it_is_good_with_its_certificate(self, desk) -> None:
        token = signed(cnf={"x5t#S256": THUMBPRINT})
        assert (await desk.recognised(token, certificate=CERTIFICATE)).app == "payments"
        await desk.refused(token, "cnf", certificate=b"another")

    async def test_it_is_asked_for_each_time(self, desk) -> None:
        authenticator = desk.authenticator()
        token = signed(cnf={"x5t#S256": THUMBPRINT})
        await ask(authenticator, token, CERTIFICATE)
        for certificate in (None, b"another"):
            with pytest.raises(CredentialRefused) as refused:
                await ask(authenticator, token, certificate)
            assert refused.value.why == "cnf"
        await ask(authenticator, token, CERTIFICATE)

    @pytest.mark.parametrize(
        "cnf",
        [
            {"x5t#S256": THUMBPRINT + "="},
            {"x5t#S256": THUMBPRINT.lower()},
            {"x5t#S256": 5},
            {"x5t#S256": "\xe9"},
            {"x5t#S256": THUMBPRINT, "jkt": "x"},
            {"x5t": THUMBPRINT},
            THUMBPRINT,
            [THUMBPRINT],
        ],
        ids=str,
    )
    async def test_a_confirmation_that_cannot_be_checked_is_none(self, desk, cnf) -> None:
        await desk.refused(signed(cnf=cnf), "cnf", certificate=CERTIFICATE)

    async def test_it_can_be_demanded(self, desk) -> None:
        await desk.refused(signed(), "cnf", certificate=CERTIFICATE, require_cnf=True)
        token = signed(cnf={"x5t#S256": THUMBPRINT})
        assert (await desk.recognised(token, certificate=CERTIFICATE, require_cnf=True)).app == "payments"


async def test_a_token_that_was_good_is_not_verified_again(desk, monkeypatch) -> None:
    authenticator = desk.authenticator()
    token = signed()
    await ask(authenticator, token)
    monkeypatch.setattr("vsqlvault_plugins.auth.jwt.plugin.take_apart", lambda _: pytest.fail("it was"))
    found = authenticator.authenticate(Presented({"authorization": f"Bearer {token}"}))
    assert isinstance(found, Principal)


@pytest.mark.parametrize("members", [{"exp": NOW - 31}, {"nbf": NOW + 31}, {"aud": "x"}, {"client_id": 5}, {"cnf": {}}])
async def test_a_token_that_was_bad_is_not_remembered(desk, members) -> None:
    authenticator = desk.authenticator()
    with pytest.raises(CredentialRefused):
        await ask(authenticator, signed(**members))
    assert not authenticator._remembered


async def test_the_number_of_remembered_tokens_is_bounded(desk) -> None:
    authenticator = desk.authenticator(max_remembered=3)
    tokens = [signed(jti=f"token-{number}") for number in range(5)]
    for token in tokens:
        await ask(authenticator, token)
    assert len(authenticator._remembered) == 3
    assert [hashlib.sha256(token.encode()).digest() in authenticator._remembered for token in tokens] == [
        False, False, True, True, True,
    ]  # fmt: skip
