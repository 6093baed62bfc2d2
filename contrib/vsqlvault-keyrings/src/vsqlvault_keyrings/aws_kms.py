"""AWS KMS: ``GenerateDataKey`` and ``Decrypt``, by the client of boto3, which knows where credentials are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vsqlvault_keyrings.wrapping import KEY_BYTES, KeyServiceFailed, WrappingKeyRing

CONTEXT = "vsqlvault:key_ref"


class KmsClient(Protocol):
    """What is used of ``boto3.client("kms")``."""

    def generate_data_key(self, **arguments: Any) -> Mapping[str, Any]:
        """Return ``Plaintext`` and ``CiphertextBlob``."""

    def decrypt(self, **arguments: Any) -> Mapping[str, Any]:
        """Return ``Plaintext``."""


class AwsKmsKeyRing(WrappingKeyRing):
    """Data keys of AWS KMS. ``keys`` has ARNs of symmetric keys. The key_ref is in the encryption context."""

    def __init__(self, client: KmsClient, keys: Mapping[str, str], current: str, **options: Any) -> None:
        super().__init__(keys, current, **options)
        self._client = client

    def _generated(self, name: str, key_ref: str) -> tuple[bytes, bytes]:
        answer = _called(
            self._client.generate_data_key, KeyId=name, NumberOfBytes=KEY_BYTES, EncryptionContext={CONTEXT: key_ref}
        )
        return _bytes(answer, "Plaintext"), _bytes(answer, "CiphertextBlob")

    def _opened(self, name: str, key_ref: str, wrapped: bytes) -> bytes:
        answer = _called(self._client.decrypt, KeyId=name, CiphertextBlob=wrapped, EncryptionContext={CONTEXT: key_ref})
        return _bytes(answer, "Plaintext")


def _bytes(answer: Mapping[str, Any], name: str) -> bytes:
    found = answer.get(name)
    if not isinstance(found, bytes):
        raise KeyServiceFailed(f"expected {name}")
    return found


def _called(operation: Callable[..., Mapping[str, Any]], **arguments: Any) -> Mapping[str, Any]:
    """Return the answer; of an exception of boto3 its kind is kept, and no word of it."""
    try:
        return operation(**arguments)
    except Exception as error:  # noqa: BLE001 - the exceptions of botocore are made at run time
        response = getattr(error, "response", None)
        code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        reason = str(code or type(error).__name__)
    raise KeyServiceFailed(reason)
