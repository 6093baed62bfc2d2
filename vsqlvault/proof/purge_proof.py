"""The purge proof: a hash that anyone with a copy of the entry can recompute.

The document is the response of ``GET /vault/{purpose}/{external_id}`` for one version of an entry, with the value
replaced by its SHA-256 digest. docs/purge.md publishes the field list and a worked example.
"""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring
from typing import Any

from vsqlvault.model.entry import Entry
from vsqlvault.model.times import format_time
from vsqlvault.proof.canonical import canonical_json, read_canonical

FORMAT = "vsqlvault-entry-v1"
_SAFE_INTEGER = 2**53


def proof_document(entry: Entry, value_sha256: str) -> dict[str, Any]:
    """Return the document of the proof. ``value_sha256`` is 64 hex digits, over the stored bytes."""
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
        "metadata": read_canonical(entry.metadata),
        "owner_app": entry.owner_app,
        "owner_identity": entry.owner_identity,
        "access_policy": entry.access_policy,
        "created_at": format_time(entry.created_at),
        "updated_at": format_time(entry.updated_at),
        "expires_at": format_time(entry.expires_at),
    }


def purge_proof(entry: Entry, value: bytes) -> str:
    """Return the proof hash, 64 hex digits: SHA-256 over the RFC 8785 form of the proof document.

    The value is hashed from the given bytes, not taken from ``entry.value_sha256``: the proof is about the actual
    bytes.
    """
    value_sha256 = hashlib.sha256(value).hexdigest()
    return hashlib.sha256(_written(entry, value_sha256)).hexdigest()


def kept_proof(entry: Entry) -> str:
    """Return the proof hash of an entry whose value was overwritten, from the stored digest of the value."""
    return hashlib.sha256(_written(entry, entry.value_sha256)).hexdigest()


def stored_proof(entry: Entry) -> str:
    """Return the proof hash of an entry that is about to be stored. Its metadata was just written as RFC 8785 text."""
    return hashlib.sha256(_written(entry, entry.value_sha256, entry.metadata)).hexdigest()


def _written(entry: Entry, value_sha256: str, metadata: str | None = None) -> bytes:
    """Return the RFC 8785 form of the proof document. ``metadata`` is that of the entry, if its form is known.

    It is written directly, with keys in order, because a sweep needs many.
    """
    if entry.version >= _SAFE_INTEGER or entry.value_size >= _SAFE_INTEGER:
        return canonical_json(proof_document(entry, value_sha256))
    if metadata is None:
        metadata = "{}" if entry.metadata == "{}" else canonical_json(read_canonical(entry.metadata)).decode()
    return (
        f'{{"access_policy":{_text(entry.access_policy)},"algorithm_hint":{_text(entry.algorithm_hint)}'
        f',"created_at":"{format_time(entry.created_at)}","encoding":"{entry.encoding.value}"'
        f',"entry_id":{_text(entry.entry_id)},"expires_at":"{format_time(entry.expires_at)}"'
        f',"external_id":{_text(entry.external_id)},"format":"{FORMAT}","key_ref":{_text(entry.key_ref)}'
        f',"metadata":{metadata},"owner_app":{_text(entry.owner_app)}'
        f',"owner_identity":{_text(entry.owner_identity)},"purpose":{_text(entry.purpose)}'
        f',"updated_at":"{format_time(entry.updated_at)}","value_sha256":"{value_sha256}"'
        f',"value_size":{entry.value_size},"version":{entry.version}}}'
    ).encode()


def _text(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)
