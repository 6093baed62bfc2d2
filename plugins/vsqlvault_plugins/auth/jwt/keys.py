"""Parses a JWK Set (RFC 7517), without the keys that must not verify anything."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from vsqlvault.errors import CredentialRefused
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.auth.jwt.strict import base64url, json_object

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

log = logging.getLogger(__name__)
MAX_JWKS_BYTES = 1024 * 1024
MAX_KEYS = 100
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
MAX_RSA_EXPONENT_BITS = 32
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_SHOWN_CHARACTERS = 64

_ED25519 = ("EdDSA", "Ed25519")
"""Two names of one algorithm (RFC 9864)."""

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): _ED25519,
}


class JwksRefused(Exception):
    """The document is not a usable JWK Set. The text is the reason, without content of the document."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the algorithms that it may verify: none if it is too weak or has another use."""

    algorithms: frozenset[str]
    key: RSAKey | ECKey | OKPKey | None = None

    def verifies(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Return whether this key made the signature."""
        from vsqlvault_plugins.auth.jwt.algorithms import verifies  # noqa: PLC0415

        return verifies(self.key, algorithm, signing_input, signature)


class KeySet:
    """The keys of one document. Two different documents are two sets, even if they have the same keys."""

    def __init__(self, keys: Mapping[str | None, tuple[VerificationKey, ...]], digest: bytes = b"") -> None:
        self._keys = keys
        self.digest = digest
        self._every = [key for named in keys.values() for key in named]

    def __len__(self) -> int:
        return len(self._every)

    @property
    def usable(self) -> int:
        """The number of keys that can verify a signature."""
        return sum(bool(key.algorithms) for key in self._every)

    def has(self, kid: str | None) -> bool:
        """Whether a ``kid`` selects a key of this set. Without a ``kid``, the set must have exactly one key."""
        return len(self._every) == 1 if kid is None else kid in self._keys

    def find(self, kid: str | None, algorithm: str) -> VerificationKey:
        """Return the key of a ``kid`` in this set.

        Raises:
            CredentialRefused: ``alg``, no key of that name is for this algorithm; ``kid``, more than one is.
        """
        named = self._every if kid is None else self._keys[kid]
        fit = [key for key in named if algorithm in key.algorithms]
        if not fit:
            raise CredentialRefused("alg")
        if len(fit) > 1:
            raise CredentialRefused("kid")
        return fit[0]


def digest_of(data: bytes) -> bytes:
    """Return what distinguishes one document from another."""
    return hashlib.sha256(data).digest()


def read_key_set(data: bytes, algorithms: Collection[str], issuer: str) -> KeySet:
    """Return the keys of a JWK Set. An unusable key is logged and only its ``kid`` is kept.

    Raises:
        JwksRefused: the document is too large, is not a JWK Set, or has too many keys.
    """
    if len(data) > MAX_JWKS_BYTES:
        raise JwksRefused(f"expected at most {MAX_JWKS_BYTES} bytes")
    try:
        listed = json_object(data).get("keys")
    except ValueError as error:
        raise JwksRefused(f"expected a JSON object, found {error}") from None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise JwksRefused("expected a list of objects under keys")
    if len(listed) > MAX_KEYS:
        raise JwksRefused(f"expected at most {MAX_KEYS} keys, found {len(listed)}")
    keys: dict[str | None, tuple[VerificationKey, ...]] = {}
    for jwk in listed:
        kid = jwk.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise JwksRefused("expected each kid as a string")
        try:
            key = _read_key(jwk, algorithms)
        except ValueError as error:
            log.warning("JWKS key refused", extra={"issuer": issuer, "kid": _shown(kid), "error": str(error)})
            key = VerificationKey(frozenset())
        keys[kid] = (*keys.get(kid, ()), key)
    return KeySet(keys, digest_of(data))


def _read_key(jwk: dict[str, Any], algorithms: Collection[str]) -> VerificationKey:
    """Return the key.

    Raises:
        ValueError: it cannot be used here, with the reason.
    """
    from vsqlvault_plugins.auth.jwt.algorithms import KINDS, NOT_A_KEY  # noqa: PLC0415 - it imports joserfc

    kind, curve = jwk.get("kty"), jwk.get("crv")
    if kind == "oct" or not _PRIVATE.isdisjoint(jwk):
        raise ValueError("a secret or private key is published")
    if jwk.get("use", "sig") != "sig":
        raise ValueError("use is not sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("key_ops do not include verify")
    possible = _RSA if kind == "RSA" else _BY_CURVE.get((str(kind), str(curve)), ())
    if not possible:
        raise ValueError("kty or crv is not supported")
    meant = jwk.get("alg")
    if meant is not None and meant not in _ED25519:
        possible = tuple(name for name in possible if name == meant)
    fit = frozenset(possible) & frozenset(algorithms)
    if not fit:
        raise ValueError("alg is not an algorithm of the issuer")
    if kind == "RSA":
        _check_rsa(jwk)
    plain = {name: value for name, value in jwk.items() if name in {"kty", "crv", "n", "e", "x", "y"}}
    try:
        return VerificationKey(fit, KINDS[str(kind)].import_key(plain))
    except NOT_A_KEY:
        raise ValueError("its numbers are not a valid key") from None


def _check_rsa(jwk: dict[str, Any]) -> None:
    modulus, exponent = jwk.get("n"), jwk.get("e")
    if not isinstance(modulus, str) or not isinstance(exponent, str):
        raise ValueError("n and e are not both strings")  # noqa: TRY004 - callers catch one kind of exception
    bits = int.from_bytes(base64url(modulus)).bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise ValueError(f"expected {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, found {bits}")
    if int.from_bytes(base64url(exponent)).bit_length() > MAX_RSA_EXPONENT_BITS:
        raise ValueError(f"expected an exponent of at most {MAX_RSA_EXPONENT_BITS} bits")


def _shown(kid: str | None) -> str | None:
    return None if kid is None else kid.encode("ascii", "backslashreplace").decode("ascii")[:_SHOWN_CHARACTERS]
