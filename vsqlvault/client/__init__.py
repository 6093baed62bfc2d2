"""The client of a vault: ``Vault`` waits for each answer, ``AsyncVault`` is awaited. docs/client.md shows both."""

from vsqlvault.client import errors
from vsqlvault.client.asynchronous import AsyncVault
from vsqlvault.client.blocking import Vault
from vsqlvault.client.errors import VaultError
from vsqlvault.client.results.entries import Entry, EntryHead, RetrievedEntry, StoredEntry
from vsqlvault.client.results.rows import AccessRow, Purge, PurgeRow
from vsqlvault.client.results.rules import AccessPolicy, Explanation, Hold, RetentionEffect, RetentionPolicy, Rule
from vsqlvault.client.results.service import ApiKey, CreatedApiKey, KeyRefUse, Sweep
from vsqlvault.client.retries import NO_RETRIES, Retries
from vsqlvault.client.settings import Attempt, Hooks, Limits, Timeouts
from vsqlvault.client.verify import Checkpoint, NotVerified, VerifiedPurge, verify_checkpoint, verify_receipt
from vsqlvault.client.version import __version__

__all__ = [
    "NO_RETRIES",
    "AccessPolicy",
    "AccessRow",
    "ApiKey",
    "AsyncVault",
    "Attempt",
    "Checkpoint",
    "CreatedApiKey",
    "Entry",
    "EntryHead",
    "Explanation",
    "Hold",
    "Hooks",
    "KeyRefUse",
    "Limits",
    "NotVerified",
    "Purge",
    "PurgeRow",
    "RetentionEffect",
    "RetentionPolicy",
    "Retries",
    "RetrievedEntry",
    "Rule",
    "StoredEntry",
    "Sweep",
    "Timeouts",
    "Vault",
    "VaultError",
    "VerifiedPurge",
    "__version__",
    "errors",
    "verify_checkpoint",
    "verify_receipt",
]
