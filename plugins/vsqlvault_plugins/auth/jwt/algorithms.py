"""The algorithms of tokens and the kinds of keys. It imports joserfc: only a vault with an issuer needs it."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwa import JWS_ALGORITHMS, JWSAlgModel
from joserfc.jwk import ECKey, OKPKey, RSAKey

KINDS: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
NOT_A_KEY = (JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm)
"""What importing an invalid key raises."""

_SUPPORTED = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519",
)  # fmt: skip
_known = {model.name: model for model in JWS_ALGORITHMS}
_verifiers: Mapping[str, JWSAlgModel] = {
    **{name: _known[name] for name in _SUPPORTED},
    "EdDSA": _known["Ed25519"],
}
"""The supported algorithms by their names in headers. ``none`` and HMAC are not among them."""


def verifies(key: RSAKey | ECKey | OKPKey | None, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
    """Return whether the key made the signature."""
    try:
        return bool(_verifiers[algorithm].verify(signing_input, signature, key))
    except (JoseError, ValueError):
        return False
