"""Azure Key Vault: data keys are made here and wrapped by RSA-OAEP-256, with the REST API of version 7.4."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import httpx

from vsqlvault_keyrings.rest import SECONDS, Token, asked, current, text_of
from vsqlvault_keyrings.wrapping import KEY_BYTES, KeyServiceFailed, WrappingKeyRing

API_VERSION = "7.4"
ALGORITHM = "RSA-OAEP-256"


class AzureKeyVaultKeyRing(WrappingKeyRing):
    """Data keys wrapped by keys of Azure Key Vault.

    ``keys`` has key identifiers with their version, such as ``https://payez-kv.vault.azure.net/keys/card/4387e9f3``.
    ``token`` is a token for ``https://vault.azure.net``, or a function that returns one.
    """

    def __init__(
        self, token: Token, keys: Mapping[str, str], current: str, *, client: httpx.Client | None = None, **options: Any
    ) -> None:
        super().__init__(keys, current, **options)
        self._token = token
        self._client = client or httpx.Client(timeout=SECONDS)

    def _generated(self, name: str, _: str) -> tuple[bytes, bytes]:
        key = os.urandom(KEY_BYTES)
        return key, self._operation(name, "wrapkey", key)

    def _opened(self, name: str, _: str, wrapped: bytes) -> bytes:
        return self._operation(name, "unwrapkey", wrapped)

    def _operation(self, name: str, operation: str, value: bytes) -> bytes:
        url = f"{name.rstrip('/')}/{operation}?api-version={API_VERSION}"
        body = {"alg": ALGORITHM, "value": urlsafe_b64encode(value).rstrip(b"=").decode("ascii")}
        answer = asked(self._client, url, body, {"Authorization": f"Bearer {current(self._token)}"})
        text = text_of(answer, "value")
        try:
            return urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raise KeyServiceFailed("expected base64url") from None
