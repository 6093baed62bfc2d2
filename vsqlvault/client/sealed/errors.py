"""Why a sealed value does not open. No text names a key, a value, or where a value came from."""

from __future__ import annotations

from vsqlvault.client.errors import VaultError


class SealError(VaultError):
    """The sealed value does not open."""

    slug = "seal"


class SealUnknown(SealError):
    """The value is not a sealed value of a known version."""

    slug = "seal-unknown"


class SealCut(SealError):
    """The sealed value is not as long as it says."""

    slug = "seal-cut"


class SealMoved(SealError):
    """The value was sealed for another purpose or id."""

    slug = "seal-moved"


class KeyRefChanged(SealError):
    """The key_ref of the entry is not the one the value was sealed under."""

    slug = "seal-key-ref"


class SealAltered(SealError):
    """The value was altered after it was sealed, or the key ring has another key under its key_ref."""

    slug = "seal-altered"


class UnknownKey(SealError):
    """The key ring has no key of this key_ref."""

    slug = "seal-unknown-key"
