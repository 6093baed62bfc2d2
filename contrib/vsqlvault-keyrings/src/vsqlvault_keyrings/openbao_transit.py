"""OpenBao (and HashiCorp Vault) transit: ``datakey/plaintext`` and ``decrypt``."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import httpx

from vsqlvault_keyrings.rest import SECONDS, Token, asked, current, text_of
from vsqlvault_keyrings.wrapping import KEY_BYTES, KeyServiceFailed, WrappingKeyRing


class OpenBaoTransitKeyRing(WrappingKeyRing):
    """Data keys of a transit engine. ``keys`` has the names of its keys; it keeps their versions itself."""

    def __init__(
        self,
        address: str,
        token: Token,
        keys: Mapping[str, str],
        current: str,
        *,
        mount: str = "transit",
        namespace: str | None = None,
        client: httpx.Client | None = None,
        **options: Any,
    ) -> None:
        """``token`` is a token of OpenBao, or a function that returns one."""
        super().__init__(keys, current, **options)
        self._base = f"{address.rstrip('/')}/v1/{mount.strip('/')}"
        self._token = token
        self._namespace = {"X-Vault-Namespace": namespace} if namespace else {}
        self._client = client or httpx.Client(timeout=SECONDS)

    def _generated(self, name: str, _: str) -> tuple[bytes, bytes]:
        answer = self._asked(f"datakey/plaintext/{name}", {"bits": KEY_BYTES * 8})
        return _bytes(text_of(answer, "data", "plaintext")), text_of(answer, "data", "ciphertext").encode("ascii")

    def _opened(self, name: str, _: str, wrapped: bytes) -> bytes:
        try:
            ciphertext = wrapped.decode("ascii")
        except UnicodeDecodeError:
            raise KeyServiceFailed("expected a wrapped key of transit") from None
        return _bytes(text_of(self._asked(f"decrypt/{name}", {"ciphertext": ciphertext}), "data", "plaintext"))

    def _asked(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"X-Vault-Token": current(self._token), "X-Vault-Request": "true", **self._namespace}
        return asked(self._client, f"{self._base}/{path}", body, headers)


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise KeyServiceFailed("expected base64") from None
