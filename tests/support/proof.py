"""The purge proof as a stranger computes it: from what GET answered, with json and hashlib and nothing of the vault's."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

FIELDS = (
    "purpose", "external_id", "entry_id", "version", "value_size", "encoding", "algorithm_hint", "key_ref", "metadata",
    "owner_app", "owner_identity", "access_policy", "created_at", "updated_at", "expires_at",
)  # fmt: skip


def recomputed_proof(entry: dict[str, Any]) -> str:
    """Return the proof of an entry that GET answered; sorted keys are RFC 8785 for the texts and integers used in tests."""
    text = entry["encrypted_value"]
    value = base64.b64decode(text) if entry["encoding"] == "base64" else text.encode("utf-8")
    document = {
        "format": "vsqlvault-entry-v1",
        "value_sha256": hashlib.sha256(value).hexdigest(),
        **{name: entry[name] for name in FIELDS},
    }
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()
