"""What it costs to recognise a caller: an API key, a token that was seen before, and tokens that have to be verified.

Timed is the way of every request: all authenticators are asked, and the principal is checked. Nothing waits, so a coroutine
is driven by hand, without a loop around it. Run ``python -m benchmarks.bench_credentials`` for a table, or as the others.
"""

import base64
import hashlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.support.settings import checked
from vsqlvault.http.authentication import authenticate
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault_plugins.auth.api_key import ApiKeyAuthenticator
from vsqlvault_plugins.auth.jwt.plugin import JwtAuthenticator

ISSUER = "https://login.example/realms/shop"
KEY = "vsk_a-key-for-benchmarks-of-the-usual-length-0123456"
TOKENS = 400
TARGETS_US = {"API key": 5, "token seen before": 10, "token first seen, RS256": 200, "token first seen, ES256": 300}


def b64(data):
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def number(value, size):
    """Return a number as JWKs hold it."""
    return b64(value.to_bytes(size, "big"))


class Issuer:
    """An issuer with a key for each algorithm."""

    def __init__(self):
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()

    def jwks(self):
        """Return the keys as they are published."""
        modulus = self.rsa.public_key().public_numbers().n
        point = self.ec.public_key().public_numbers()
        keys = [
            {"kty": "RSA", "kid": "RS256", "n": number(modulus, 256), "e": "AQAB"},
            {"kty": "EC", "kid": "ES256", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)},
            {"kty": "OKP", "kid": "Ed25519", "crv": "Ed25519", "x": b64(self.ed.public_key().public_bytes_raw())},
        ]
        return json.dumps({"keys": keys})

    def token(self, algorithm, serial):
        """Return a token with claims as identity providers write them."""
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": "vault", "sub": "6f2c1b7e-7f0f-4d62-9d53-2c8a4a1f9b10", "client_id": "payments",
            "azp": "payments", "iat": now, "exp": now + 3600, "jti": f"token-{serial}", "scope": "openid vault:card",
            "realm_access": {"roles": ["default-roles-shop", "offline_access", "vault-auditor"]},
        }  # fmt: skip
        header = {"alg": algorithm, "kid": algorithm, "typ": "at+jwt"}
        signing_input = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{signing_input}.{b64(self._signature(algorithm, signing_input.encode()))}"

    def _signature(self, algorithm, data):
        if algorithm == "RS256":
            return self.rsa.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "Ed25519":
            return self.ed.sign(data)
        r, s = decode_dss_signature(self.ec.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Desk:
    """The authenticators of a server that takes keys and tokens."""

    def __init__(self, directory):
        self.issuer = Issuer()
        file = Path(directory) / "keys.json"
        file.write_text(self.issuer.jwks(), "utf-8")
        settings = checked({"auth":
            {
                "api_key_env": None,
                "api_keys": [
                    {"app": f"app-{place}", "key_sha256": hashlib.sha256(f"{KEY}{place}".encode()).hexdigest()}
                    for place in range(100)
                ],
                "jwt": [
                    {
                        "issuer": ISSUER, "audience": "vault", "jwks_file": str(file), "purposes_claim": "scope",
                        "purposes_prefix": "vault:", "roles_claim": ["realm_access", "roles"], "roles_prefix": "vault-",
                    }
                ],
            }
        })  # fmt: skip
        self.authenticators = [ApiKeyAuthenticator(settings.auth, {}), JwtAuthenticator(settings.plugin("jwt"))]

    def recognise(self, presented):
        """Return the principal, without a loop."""
        asked = authenticate(self.authenticators, presented)
        try:
            asked.send(None)
        except StopIteration as answer:
            return answer.value
        raise AssertionError("it waited")

    def with_key(self):
        """Return what a request with an API key presents."""
        return presenting("x-vault-key", f"{KEY}50")

    def with_tokens(self, algorithm, count):
        """Return what requests with tokens of their own present."""
        return [
            presenting("authorization", f"Bearer {self.issuer.token(algorithm, serial)}") for serial in range(count)
        ]

    async def ready(self):
        """Have the keys read: the first token of an issuer waits for them."""
        await authenticate(self.authenticators, self.with_tokens("ES256", 1)[0])


def presenting(header, value):
    """Return what a usual request presents."""
    usual = {"host": "vault.example", "user-agent": "payments/7", "accept": "*/*", "content-type": "application/json"}
    return Presented({**usual, header: value}, "192.0.2.7")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Authenticators whose keys are read."""
    import asyncio  # noqa: PLC0415

    made = Desk(tmp_path_factory.mktemp("credentials"))
    asyncio.run(made.ready())
    return made


def test_api_key(benchmark, desk):
    """Benchmark a key among a hundred."""
    presented = desk.with_key()
    assert benchmark(desk.recognise, presented).app == "app-50"


def test_token_seen_before(benchmark, desk):
    """Benchmark a token that was verified."""
    (presented,) = desk.with_tokens("RS256", 1)
    desk.recognise(presented)
    assert benchmark(desk.recognise, presented).app == "payments"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519"])
def test_token_first_seen(benchmark, desk, algorithm):
    """Benchmark tokens each of which is verified."""
    tokens = iter(desk.with_tokens(algorithm, TOKENS))
    benchmark.pedantic(desk.recognise, setup=lambda: ((next(tokens),), {}), rounds=TOKENS)


def microseconds(function, inputs, repeats=1):
    """Return the median time of a call. Few repeats at a time, so that a program beside it disturbs few of them."""
    taken = []
    for given in inputs:
        started = time.perf_counter()
        for _ in range(repeats):
            function(given)
        taken.append((time.perf_counter() - started) / repeats * 1e6)
    return statistics.median(taken)


def main():
    """Print what each way costs beside what it may cost; exit 1 where one costs more."""
    import asyncio  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        desk = Desk(directory)
        asyncio.run(desk.ready())
        key, (token,) = desk.with_key(), desk.with_tokens("RS256", 1)
        found = {
            "API key": microseconds(desk.recognise, [key] * 2000, 20),
            "token seen before": microseconds(desk.recognise, [token] * 2000, 20),
        }
        for algorithm in ("RS256", "ES256", "Ed25519"):
            fresh = desk.with_tokens(algorithm, TOKENS)
            found[f"token first seen, {algorithm}"] = microseconds(desk.recognise, fresh)
    for name, taken in found.items():
        target = TARGETS_US.get(name)
        print(f"{name:<28} {taken:>8.2f} µs" + (f"   target {target} µs" if target else ""))
    return int(any(found[name] > target for name, target in TARGETS_US.items()))


if __name__ == "__main__":
    sys.exit(main())
