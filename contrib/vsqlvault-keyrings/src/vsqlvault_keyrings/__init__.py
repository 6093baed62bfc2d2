"""Key rings whose keys a key management service wraps, for ``vsqlvault.client.sealed``."""

from vsqlvault_keyrings.aws_kms import AwsKmsKeyRing
from vsqlvault_keyrings.azure_key_vault import AzureKeyVaultKeyRing
from vsqlvault_keyrings.openbao_transit import OpenBaoTransitKeyRing
from vsqlvault_keyrings.wrapping import KeyServiceFailed, Reuse, WrappingKeyRing

__all__ = [
    "AwsKmsKeyRing",
    "AzureKeyVaultKeyRing",
    "KeyServiceFailed",
    "OpenBaoTransitKeyRing",
    "Reuse",
    "WrappingKeyRing",
]
