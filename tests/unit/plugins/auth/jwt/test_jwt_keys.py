"""What of a published set of keys is used, and what is left out."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from tests.support.tokens import SigningKey, b64, jwks
from vsqlvault.errors import CredentialRefused
from vsqlvault_plugins.auth.jwt.keys import MAX_JWKS_BYTES, JwksRefused, KeySet, read_key_set

EVERY = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
EC, RSA, ED = SigningKey(), SigningKey("RS256", "rsa"), SigningKey("Ed25519", "ed")


def read(document: bytes, *algorithms: str) -> KeySet:
    return read_key_set(document, algorithms or EVERY, "https://login.example")


def algorithms_of(jwk: dict[str, Any], *algorithms: str) -> set[str]:
    keys = read(jwks(jwk), *algorithms)
    found = set()
    for name in EVERY:
        with suppress(CredentialRefused):
            keys.find(None, name)
            found.add(name)
    return found


RSA_NAMES = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
USED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "RSA": (RSA.jwk(), RSA_NAMES),
    "RSA for one algorithm": (RSA.jwk(alg="PS256"), {"PS256"}),
    "RSA without use": (RSA.jwk(use=None), RSA_NAMES),
    "RSA for verifying": (RSA.jwk(key_ops=["verify"]), RSA_NAMES),
    "P-256": (EC.jwk(), {"ES256"}),
    "P-384": (SigningKey("ES384").jwk(), {"ES384"}),
    "P-521": (SigningKey("ES512").jwk(), {"ES512"}),
    "Ed25519": (ED.jwk(), {"EdDSA", "Ed25519"}),
    "Ed25519 by its old name": (ED.jwk(alg="EdDSA"), {"EdDSA", "Ed25519"}),
    "unknown members": (EC.jwk(x5c=["MIIB"], x5t="a", nonce=5), {"ES256"}),
}
EVEN = b64(bytes([0x80]) + bytes(255))
REFUSED: dict[str, dict[str, Any]] = {
    "RSA of 1024 bits": SigningKey("RS256", bits=1024).jwk(),
    "RSA of 2047 bits": RSA.jwk(n=b64(b"\x7f" + b"\xff" * 255)),
    "RSA of 2048 bits behind zeros that make 1024": RSA.jwk(n=b64(bytes(128) + b"\xff" * 128)),
    "RSA of 16384 bits": RSA.jwk(n=b64(b"\xff" * 2048)),
    "RSA with the exponent 1": RSA.jwk(e="AQ"),
    "RSA with an even exponent": RSA.jwk(e="Ag"),
    "RSA with an exponent of 40 bits": RSA.jwk(e=b64(b"\xff" * 5)),
    "RSA without n": RSA.jwk(n=None),
    "RSA with a number as n": RSA.jwk(n=5),
    "RSA with n in base64": RSA.jwk(n="+/" + "A" * 342),
    "for encryption": RSA.jwk(use="enc"),
    "for signing only": RSA.jwk(key_ops=["sign"]),
    "for a number": RSA.jwk(key_ops=5),
    "for an algorithm of another kind": RSA.jwk(alg="ES256"),
    "for RSA-OAEP": RSA.jwk(alg="RSA-OAEP"),
    "for no algorithm": RSA.jwk(alg=""),
    "for a list of algorithms": RSA.jwk(alg=["RS256"]),
    "a secret": {"kty": "oct", "kid": "s", "k": b64(bytes(32))},
    "an RSA key with its private part": RSA.jwk(d=b64(b"\x01" * 256)),
    "an EC key with its private part": EC.jwk(d=b64(b"\x01" * 32)),
    "a curve that is not taken": SigningKey("ES256K").jwk(),
    "a curve of the other kind": EC.jwk(crv="Ed25519"),
    "X25519": ED.jwk(crv="X25519"),
    "Ed448": ED.jwk(crv="Ed448", x=b64(bytes(57))),
    "no curve": EC.jwk(crv=None),
    "a point that is not on its curve": EC.jwk(y=b64(bytes(31) + b"\x05")),
    "a point with one number": EC.jwk(y=None),
    "an Ed25519 key of 31 bytes": ED.jwk(x=b64(bytes(31))),
    "no kind": EC.jwk(kty=None),
    "a list as kind": EC.jwk(kty=["EC"]),
    "AKP": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "pq"},
}


@pytest.mark.parametrize(("jwk", "names"), USED.values(), ids=USED.keys())
def test_a_key_is_used_for_what_it_is_fit_for(jwk, names) -> None:
    assert algorithms_of(jwk) == names


@pytest.mark.parametrize("jwk", REFUSED.values(), ids=REFUSED.keys())
def test_a_key_that_is_not_fit_is_known_by_its_name_and_verifies_nothing(jwk, caplog) -> None:
    keys = read(jwks(jwk, EC.jwk(kid="beside")))
    assert (len(keys), keys.usable) == (2, 1)
    assert keys.has(jwk.get("kid"))
    for name in EVERY:
        with pytest.raises(CredentialRefused) as refused:
            keys.find(jwk["kid"], name)
        assert refused.value.why == "alg"
    keys.find("beside", "ES256")
    (record,) = caplog.records
    assert (record.getMessage(), record.kid) == ("JWKS key refused", jwk["kid"])
    material = [value for name, value in jwk.items() if name in {"n", "d", "k", "x", "y"} and isinstance(value, str)]
    assert not [value for value in material if value in str(vars(record))]


def test_only_the_issuers_algorithms_are_there() -> None:
    assert algorithms_of(RSA.jwk(), "RS256", "ES256") == {"RS256"}
    assert algorithms_of(EC.jwk(), "RS256") == set()


DOCUMENTS: dict[str, bytes] = {
    "nothing": b"",
    "HTML": b"<html>down for maintenance</html>",
    "a list": b"[]",
    "no keys": b"{}",
    "keys that are an object": b'{"keys": {}}',
    "keys that are texts": b'{"keys": ["a"]}',
    "a kid that is a number": jwks(EC.jwk(kid=5)),
    "a name twice": b'{"keys": [], "keys": []}',
    "a name twice in a key": b'{"keys": [{"kty": "RSA", "kty": "oct"}]}',
    "not UTF-8": b'{"keys": ["\xff"]}',
    "nested without end": b'{"keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "101 keys": jwks(*({"kty": "oct", "kid": str(number)} for number in range(101))),
    "10,000 keys": jwks(*({"kty": "oct", "kid": str(number)} for number in range(10_000))),
    "more than a MiB": b'{"keys": []' + b" " * MAX_JWKS_BYTES + b"}",
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_document_that_is_no_set_of_keys_is_refused(document) -> None:
    with pytest.raises(JwksRefused) as refused:
        read(document)
    assert len(str(refused.value)) < 120


def test_a_set_without_keys_is_one() -> None:
    assert len(read(b'{"keys": []}')) == 0


def test_a_hundred_keys_are_taken() -> None:
    document = jwks(*(EC.jwk(kid=str(number)) for number in range(100)))
    assert len(read(document)) == 100


def test_a_kid_is_shown_without_what_does_not_belong_in_a_log(caplog) -> None:
    read(json.dumps({"keys": [{"kty": "oct", "kid": "a\nb" + "\u202e" + "c" * 500}]}).encode())
    (record,) = caplog.records
    assert record.kid.isascii()
    assert len(record.kid) <= 64
