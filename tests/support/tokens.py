"""An issuer of tokens for tests: its keys, the tokens it signs, and the server that publishes its keys."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://login.example/realms/shop"
AUDIENCE = "vault"
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, tuple[str, type[ec.EllipticCurve], int]] = {
    "ES256": ("P-256", ec.SECP256R1, 32),
    "ES384": ("P-384", ec.SECP384R1, 48),
    "ES512": ("P-521", ec.SECP521R1, 66),
    "ES256K": ("secp256k1", ec.SECP256K1, 32),
}
Bytes = Mapping[str, Any] | bytes


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@functools.cache
def rsa_key(bits: int = 2048, name: str = "") -> rsa.RSAPrivateKey:
    """Return the RSA key of that name; making one takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


class SigningKey:
    """A private key, and how it is published."""

    def __init__(
        self, algorithm: str = "ES256", kid: str | None = "key-1", *, bits: int = 2048, name: str = ""
    ) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.private: Any
        if algorithm in _CURVES:
            self.private = ec.generate_private_key(_CURVES[algorithm][1]())
        elif algorithm in {"EdDSA", "Ed25519"}:
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa_key(bits, name)

    def jwk(self, **members: Any) -> dict[str, Any]:
        """Return the public key as a JWK; a member that is None is left out."""
        public = self.private.public_key()
        found: dict[str, Any] = {"kid": self.kid, "use": "sig"}
        if self.algorithm in _CURVES:
            curve, _, size = _CURVES[self.algorithm]
            numbers = public.public_numbers()
            found |= {"kty": "EC", "crv": curve, "x": _number(numbers.x, size), "y": _number(numbers.y, size)}
        elif self.algorithm in {"EdDSA", "Ed25519"}:
            found |= {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
        else:
            numbers = public.public_numbers()
            found |= {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        return {name: value for name, value in (found | members).items() if value is not None}

    def signature(self, signing_input: bytes, algorithm: str | None = None) -> bytes:
        """Sign as an algorithm that this key is fit for."""
        name = algorithm or self.algorithm
        if name in _CURVES:
            size = _CURVES[name][2]
            r, s = decode_dss_signature(self.private.sign(signing_input, ec.ECDSA(_HASHES[_digits(name)])))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        if name in {"EdDSA", "Ed25519"}:
            return bytes(self.private.sign(signing_input))
        digest = _HASHES[name[2:]]
        if name.startswith("PS"):
            scheme: Any = padding.PSS(padding.MGF1(digest), digest.digest_size)
        else:
            scheme = padding.PKCS1v15()
        return bytes(self.private.sign(signing_input, scheme, digest))

    def token(self, claims: Bytes, header: Bytes | None = None, *, algorithm: str | None = None) -> str:
        """Return a signed token. ``header`` is laid over the usual one; what is None is left out. Bytes stay as they are."""
        usual = {"alg": algorithm or self.algorithm, "kid": self.kid, "typ": "JWT"}
        if not isinstance(header, bytes):
            usual |= header or {}
            header = json.dumps({name: value for name, value in usual.items() if value is not None}).encode()
        signing_input = f"{b64(header)}.{b64(as_bytes(claims))}"
        return f"{signing_input}.{b64(self.signature(signing_input.encode(), algorithm))}"


def _digits(name: str) -> str:
    return name[2:5]


def as_bytes(claims: Bytes) -> bytes:
    return claims if isinstance(claims, bytes) else json.dumps(dict(claims)).encode()


def hmac_token(claims: Bytes, secret: bytes, **header: Any) -> str:
    """Return a token signed with HS256, by a secret that may well be somebody's public key."""
    signing_input = f"{b64(json.dumps({'alg': 'HS256', 'typ': 'JWT'} | header).encode())}.{b64(as_bytes(claims))}"
    return f"{signing_input}.{b64(hmac.new(secret, signing_input.encode(), hashlib.sha256).digest())}"


def claims(now: float | None = None, **members: Any) -> dict[str, Any]:
    """Return good claims of the app ``payments``; a member that is None is left out."""
    at = int(time.time() if now is None else now)
    usual = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "service-account-payments", "client_id": "payments", "iat": at,
        "exp": at + 300, "jti": "token-1", "purposes": ["card"],
    }  # fmt: skip
    return {name: value for name, value in (usual | members).items() if value is not None}


def jwks(*keys: SigningKey | dict[str, Any]) -> bytes:
    """Return a JWK Set."""
    return json.dumps({"keys": [key.jwk() if isinstance(key, SigningKey) else key for key in keys]}).encode()


class Provider:
    """Publishes keys on the loopback, well or badly. ``fetches`` counts the requests for keys."""

    def __init__(self) -> None:
        self.document = b'{"keys": []}'
        self.discovery: dict[str, Any] | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.delay_seconds = 0.0
        self.drips = False
        self.hangs_up = False
        self.fetches = 0
        self.release = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/keys"

    def start(self) -> Provider:
        """Listen, on the same port as before if there was one."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(BrokenPipeError, ConnectionResetError):
                    provider.answer(self)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server and self._thread:
            self.release.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path != "/keys":
            self._send(request, 404 if self.discovery is None else 200, json.dumps(self.discovery).encode())
            return
        self.fetches += 1
        if self.delay_seconds:
            self.release.wait(self.delay_seconds)
        if self.hangs_up:
            return
        self._send(request, self.status, self.document)

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **self.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        for part in (body[place : place + 1] for place in range(len(body))) if self.drips else (body,):
            request.wfile.write(part)
            if self.drips and self.release.wait(0.2):
                return


@contextmanager
def provider() -> Iterator[Provider]:
    """Publish keys for the length of the block."""
    made = Provider().start()
    try:
        yield made
    finally:
        made.stop()
