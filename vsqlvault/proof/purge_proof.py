"""The purge proof: a hash that whoever kept the entry can recompute.

The document is what ``GET /vault/{purpose}/{external_id}`` answers about one version of an entry, with the value replaced
by its SHA-256. docs/purge.md publishes the field list and a worked example.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from vsqlvault.model.entry import Entry
from vsqlvault.model.times import format_time
from vsqlvault.proof.canonical import canonical_json

FORMAT = "vsqlvault-entry-v1"
_SAFE_DIGITS = 16


def _number(text: str) -> int | float:
    """Read a whole number as RFC 8785 does: every number is a double, and large ones have no fraction to show."""
    return int(text) if len(text) < _SAFE_DIGITS else float(text)


_METADATA = json.JSONDecoder(parse_int=_number)


def proof_document(entry: Entry, value_sha256: str) -> dict[str, Any]:
    """Return what the proof is computed over. ``value_sha256`` is 64 hex digits, over the bytes as they were stored."""
    return {
        "format": FORMAT,
        "purpose": entry.purpose,
        "external_id": entry.external_id,
        "entry_id": entry.entry_id,
        "version": entry.version,
        "value_sha256": value_sha256,
        "value_size": entry.value_size,
        "encoding": entry.encoding.value,
        "algorithm_hint": entry.algorithm_hint,
        "key_ref": entry.key_ref,
        "metadata": _METADATA.decode(entry.metadata),
        "owner_app": entry.owner_app,
        "owner_identity": entry.owner_identity,
        "access_policy": entry.access_policy,
        "created_at": format_time(entry.created_at),
        "updated_at": format_time(entry.updated_at),
        "expires_at": format_time(entry.expires_at),
    }


def purge_proof(entry: Entry, value: bytes) -> str:
    """Return the proof hash, 64 hex digits: SHA-256 over the RFC 8785 form of the proof document.

    The value is hashed from the bytes given, not taken from ``entry.value_sha256``: the proof speaks of what was there.
    """
    document = proof_document(entry, hashlib.sha256(value).hexdigest())
    return hashlib.sha256(canonical_json(document)).hexdigest()
