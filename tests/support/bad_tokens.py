"""Every way in which a token can be wrong, and the word that the audit row has for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.tokens import ISSUER, SigningKey, b64, claims, hmac_token, jwks

CERTIFICATE = b"the DER of a certificate"
THUMBPRINT = b64(hashlib.sha256(CERTIFICATE).digest())
EC, RSA, PSS, ED = SigningKey(), SigningKey("RS256", "rsa"), SigningKey("PS256", "pss"), SigningKey("EdDSA", "ed")
P384, ENCRYPTING = SigningKey("ES384", "p384"), SigningKey("ES256", "enc")
WEAK, STRANGE = SigningKey("RS256", "weak", bits=1024), SigningKey("ES256K", "koblitz")
PUBLISHED = jwks(EC, RSA, PSS, ED, P384, ENCRYPTING.jwk(use="enc"), WEAK, STRANGE)


def good(now: float, **members: Any) -> dict[str, Any]:
    return claims(now, **members)


def signed(now: float, header: dict[str, Any] | bytes | None = None, key: SigningKey = EC, **members: Any) -> str:
    return key.token(good(now, **members), header)


def forged(now: float, header: dict[str, Any], signature: str = "") -> str:
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(good(now)).encode())}.{signature}"


def spoilt(token: str, place: int, change: Callable[[str], str]) -> str:
    parts = token.split(".")
    parts[place] = change(parts[place])
    return ".".join(parts)


PUBLIC = RSA.private.public_key()
PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
NESTED = b'{"a":' * 3000 + b"1" + b"}" * 3000

ROWS: dict[str, tuple[Callable[[float], str], str]] = {
    "nothing": (lambda now: "", "malformed"),
    "not ASCII": (lambda now: signed(now)[:-1] + "\xe9", "malformed"),
    "one word": (lambda now: "x", "token_form"),
    "two parts": (lambda now: ".".join(signed(now).split(".")[:2]), "token_form"),
    "four parts": (lambda now: signed(now) + ".", "token_form"),
    "five parts, as JWE has": (lambda now: "a.b.c.d.e", "token_form"),
    "JSON serialisation": (lambda now: json.dumps({"payload": "x", "signatures": []}), "token_form"),
    "a token of 8193 characters": (lambda now: signed(now, pad="x" * 5900)[:8000].ljust(8193, "A"), "oversize"),
    "a header of 513 bytes": (lambda now: signed(now, {"x": "y" * 470}), "oversize"),
    "a signature of 1025 bytes": (lambda now: spoilt(signed(now), 2, lambda _: b64(bytes(1025))), "oversize"),
    "alg none": (lambda now: forged(now, {"alg": "none"}), "alg"),
    "alg nOnE": (lambda now: forged(now, {"alg": "nOnE"}), "alg"),
    "alg none with a signature": (lambda now: forged(now, {"alg": "none"}, "AAAA"), "alg"),
    "alg empty": (lambda now: forged(now, {"alg": ""}), "alg"),
    "no alg": (lambda now: signed(now, {"alg": None}), "alg"),
    "alg a list": (lambda now: signed(now, {"alg": ["ES256"]}), "alg"),
    "alg in lower case": (lambda now: signed(now, {"alg": "es256"}), "alg"),
    "HS256 by the public key in PEM": (lambda now: hmac_token(good(now), PEM, kid="rsa"), "alg"),
    "HS256 by the public key in DER": (lambda now: hmac_token(good(now), DER, kid="rsa"), "alg"),
    "HS256 by the public key as JWK": (
        lambda now: hmac_token(good(now), json.dumps(RSA.jwk()).encode(), kid="rsa"),
        "alg",
    ),
    "HS256 by nothing": (lambda now: hmac_token(good(now), b"", kid="rsa"), "alg"),
    "HS512": (lambda now: hmac_token(good(now), PEM, kid="rsa", alg="HS512"), "alg"),
    "an algorithm that the issuer does not use": (lambda now: signed(now, key=P384), "alg"),
    "ES256K": (lambda now: signed(now, key=STRANGE), "alg"),
    "a key for encryption": (lambda now: signed(now, key=ENCRYPTING), "alg"),
    "a key of 1024 bits": (lambda now: signed(now, key=WEAK), "alg"),
    "RS256 with an EC key": (lambda now: signed(now, {"kid": "key-1"}, key=RSA), "alg"),
    "ES256 with an RSA key": (lambda now: signed(now, {"kid": "rsa"}), "alg"),
    "jku": (lambda now: signed(now, {"jku": "https://evil.example/keys"}), "key_source"),
    "x5u": (lambda now: signed(now, {"x5u": "https://evil.example/cert"}), "key_source"),
    "jwk": (lambda now: signed(now, {"jwk": EC.jwk()}), "key_source"),
    "x5c": (lambda now: signed(now, {"x5c": ["MIIB"]}), "key_source"),
    "crit unknown": (lambda now: signed(now, {"crit": ["exp"], "exp": 1}), "token_form"),
    "crit empty": (lambda now: signed(now, {"crit": []}), "token_form"),
    "b64 false": (lambda now: signed(now, {"b64": False, "crit": ["b64"]}), "token_form"),
    "b64 true": (lambda now: signed(now, {"b64": True}), "token_form"),
    "zip": (lambda now: signed(now, {"zip": "DEF"}), "token_form"),
    "enc": (lambda now: signed(now, {"enc": "A256GCM"}), "token_form"),
    "a nested token": (lambda now: EC.token(signed(now).encode(), {"cty": "JWT"}), "token_form"),
    "a nested token that does not say so": (lambda now: EC.token(signed(now).encode()), "token_form"),
    "a header twice over": (
        lambda now: EC.token(good(now), b'{"alg":"ES256","kid":"key-1","alg":"ES256"}'),
        "token_form",
    ),
    "a header that is a list": (lambda now: EC.token(good(now), b'["ES256"]'), "token_form"),
    "a header that is no JSON": (lambda now: EC.token(good(now), b"{alg:ES256}"), "token_form"),
    "a header in UTF-16": (lambda now: EC.token(good(now), '{"alg":"ES256"}'.encode("utf-16")), "token_form"),
    "an empty header": (lambda now: EC.token(good(now), b""), "token_form"),
    "no kid where there are several keys": (lambda now: signed(now, {"kid": None}), "kid"),
    "kid unknown": (lambda now: signed(now, {"kid": "key-2"}), "kid"),
    "kid a path": (lambda now: signed(now, {"kid": "../../../../etc/passwd"}), "kid"),
    "kid SQL": (lambda now: signed(now, {"kid": "x' UNION SELECT 'key"}), "kid"),
    "kid a number": (lambda now: signed(now, {"kid": 1}), "kid"),
    "kid a list": (lambda now: signed(now, {"kid": ["key-1"]}), "kid"),
    "kid empty": (lambda now: signed(now, {"kid": ""}), "kid"),
    "kid null": (lambda now: EC.token(good(now), b'{"alg":"ES256","kid":null}'), "kid"),
    "kid of 10 KiB": (lambda now: signed(now, {"kid": "k" * 10_240}), "oversize"),
    "claims twice over": (lambda now: EC.token(json.dumps(good(now))[:-1].encode() + b',"sub":"admin"}'), "token_form"),
    "claims twice over deep down": (
        lambda now: EC.token(json.dumps(good(now))[:-1].encode() + b',"a":[{"b":1,"b":1}]}'),
        "token_form",
    ),
    "claims that are a list": (lambda now: EC.token(b"[]"), "token_form"),
    "claims that are no JSON": (lambda now: EC.token(b"iss=x"), "token_form"),
    "claims with NaN": (lambda now: EC.token(json.dumps(good(now) | {"exp": float("nan")}).encode()), "token_form"),
    "claims nested without end": (lambda now: EC.token(NESTED[:5500]), "token_form"),
    "claims with a byte order mark": (
        lambda now: EC.token(b"\xef\xbb\xbf" + json.dumps(good(now)).encode()),
        "token_form",
    ),
    "claims that are not UTF-8": (lambda now: EC.token(b'{"iss":"\xff"}'), "token_form"),
    "a number of 5000 digits": (lambda now: EC.token(b'{"iss":' + b"9" * 5000 + b"}"), "token_form"),
    "a signature by another key": (lambda now: SigningKey("ES256", "key-1").token(good(now)), "signature"),
    "no signature": (lambda now: spoilt(signed(now), 2, lambda _: ""), "signature"),
    "claims changed": (
        lambda now: spoilt(signed(now), 1, lambda _: b64(json.dumps(good(now, sub="root")).encode())),
        "signature",
    ),
    "padding": (lambda now: spoilt(signed(now), 2, lambda text: text + "=="), "token_form"),
    "the other alphabet": (lambda now: spoilt(signed(now), 2, lambda _: "+/+/"), "token_form"),
    "bits that are not used": (lambda now: spoilt(signed(now), 2, lambda text: text[:-1] + "B"), "token_form"),
    "a blank": (lambda now: spoilt(signed(now), 1, lambda text: text[:9] + " " + text[9:]), "token_form"),
    "a line break": (lambda now: spoilt(signed(now), 1, lambda text: text[:9] + "\n" + text[9:]), "token_form"),
    "expired": (lambda now: signed(now, exp=now - 31), "expired"),
    "no exp": (lambda now: signed(now, exp=None), "expired"),
    "exp a text": (lambda now: signed(now, exp=str(now + 60)), "expired"),
    "exp a boolean": (lambda now: signed(now, exp=True), "expired"),
    "exp null": (lambda now: EC.token(json.dumps(good(now) | {"exp": None}).encode()), "expired"),
    "exp 1e400": (
        lambda now: EC.token(json.dumps(good(now)).replace(f"{int(now) + 300}", "1e400").encode()),
        "expired",
    ),
    "exp negative": (lambda now: signed(now, exp=-1), "expired"),
    "exp beyond all sense": (lambda now: signed(now, exp=10**18), "expired"),
    "nbf in the future": (lambda now: signed(now, nbf=now + 90), "nbf"),
    "nbf a text": (lambda now: signed(now, nbf="0"), "nbf"),
    "nbf null": (lambda now: EC.token(json.dumps(good(now) | {"nbf": None}).encode()), "nbf"),
    "iat in the future": (lambda now: signed(now, iat=now + 90), "nbf"),
    "iat a boolean": (lambda now: signed(now, iat=False), "nbf"),
    "good for a day and a second": (lambda now: signed(now, exp=now + 86401), "lifetime"),
    "good for long, issued we do not know when": (lambda now: signed(now, exp=now + 86500, iat=None), "lifetime"),
    "good until the year 9999": (lambda now: signed(now, exp=253_402_300_799), "lifetime"),
    "another issuer": (lambda now: signed(now, iss="https://evil.example"), "iss"),
    "issuer with a slash more": (lambda now: signed(now, iss=ISSUER + "/"), "iss"),
    "issuer in other case": (lambda now: signed(now, iss=ISSUER.replace("login", "LOGIN")), "iss"),
    "issuer a list": (lambda now: signed(now, iss=[ISSUER]), "iss"),
    "no issuer": (lambda now: signed(now, iss=None), "iss"),
    "another audience": (lambda now: signed(now, aud="account"), "aud"),
    "an audience that begins so": (lambda now: signed(now, aud="vault-2"), "aud"),
    "an audience that is part of ours": (lambda now: signed(now, aud="vaul"), "aud"),
    "an audience more": (lambda now: signed(now, aud=["vault", "account"]), "aud"),
    "no audience in the list": (lambda now: signed(now, aud=[]), "aud"),
    "audience an object": (lambda now: signed(now, aud={"vault": True}), "aud"),
    "audience with a number": (lambda now: signed(now, aud=["vault", 5]), "aud"),
    "no audience": (lambda now: signed(now, aud=None), "aud"),
    "typ of an ID token for logging out": (lambda now: signed(now, {"typ": "logout+jwt"}), "typ"),
    "typ of a proof": (lambda now: signed(now, {"typ": "dpop+jwt"}), "typ"),
    "typ a number": (lambda now: signed(now, {"typ": 5}), "typ"),
    "typ empty": (lambda now: signed(now, {"typ": ""}), "typ"),
    "no sub": (lambda now: signed(now, sub=None), "sub"),
    "sub empty": (lambda now: signed(now, sub=""), "sub"),
    "sub an object": (lambda now: signed(now, sub={"id": 1}), "sub"),
    "sub of 257 characters": (lambda now: signed(now, sub="s" * 257), "sub"),
    "sub with a line break": (lambda now: signed(now, sub="jane\nroot"), "sub"),
    "sub with a lone surrogate": (lambda now: signed(now, sub="jane\ud800"), "sub"),
    "client_id an object": (lambda now: signed(now, client_id={}), "app"),
    "client_id empty": (lambda now: signed(now, client_id=""), "app"),
    "client_id with a blank": (lambda now: signed(now, client_id="pay ments"), "app"),
    "client_id like a rule's word": (lambda now: signed(now, client_id="@owner"), "app"),
    "client_id of 129 characters": (lambda now: signed(now, client_id="a" * 129), "app"),
    "bound to a certificate, and none there": (lambda now: signed(now, cnf={"x5t#S256": THUMBPRINT}), "cnf"),
    "cnf null": (lambda now: EC.token(json.dumps(good(now) | {"cnf": None}).encode()), "cnf"),
    "cnf empty": (lambda now: signed(now, cnf={}), "cnf"),
    "cnf of another kind": (lambda now: signed(now, cnf={"jkt": "x"}), "cnf"),
}
