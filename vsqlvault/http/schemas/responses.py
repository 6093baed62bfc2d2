"""The JSON form of entries, policies and log rows."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime
from json.encoder import encode_basestring
from typing import Any

from vsqlvault.interfaces.statistics import KeyRefUse
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, EntryState, ValueEncoding
from vsqlvault.model.log_archive import ArchivedRows
from vsqlvault.model.purge import PurgeRecord, ScrubRecord
from vsqlvault.model.times import format_time
from vsqlvault.service.entries.requests import EntryView
from vsqlvault.service.purge.sweeper import SweepCount

ACCESS_COLUMNS = (
    "at", "request_id", "operation", "outcome", "status", "purpose", "external_id", "entry_id", "entry_version", "app",
    "identity", "method", "credential_id", "client_address", "untrusted_forwarding", "reason", "policy",
    "policy_version", "count", "detail", "old_value", "new_value", "role",
)  # fmt: skip
PURGE_COLUMNS = (
    "id", "purged_at", "purpose", "external_id", "entry_id", "entry_version", "method", "reason", "policy_reference",
    "proof_hash", "value_size", "key_ref", "owner_app", "expired_at", "app", "identity", "request_id", "scrubbed_at",
)  # fmt: skip


def etag(entry: Entry) -> str:
    """Return the entity tag of one version of an entry. Another entry under the same id never has the same tag."""
    return f'"{entry.entry_id}.{entry.version}"'


def entry_json(viewed: EntryView, *, state: EntryState = EntryState.ACTIVE, warnings: Sequence[str] = ()) -> bytes:
    """Return an entry as JSON. The stored metadata is canonical JSON and is inserted unchanged."""
    entry = viewed.entry
    hint, key_ref, identity = entry.algorithm_hint, entry.key_ref, entry.owner_identity
    created_at, expires_at, ends = (
        format_time(entry.created_at),
        format_time(entry.expires_at),
        viewed.effective_expires_at,
    )
    updated_at = created_at if entry.updated_at == entry.created_at else format_time(entry.updated_at)
    ends_at = expires_at if ends == entry.expires_at else format_time(ends)
    parts = [
        (
            f'{{"purpose":"{entry.purpose}","external_id":"{entry.external_id}","entry_id":"{entry.entry_id}"'
            f',"version":{entry.version},"state":"{state}","encoding":"{entry.encoding}"'
            f',"value_sha256":"{entry.value_sha256}","value_size":{entry.value_size}'
            f',"algorithm_hint":{"null" if hint is None else encode_basestring(hint)}'
            f',"key_ref":{"null" if key_ref is None else encode_basestring(key_ref)}'
            f',"owner_app":{encode_basestring(entry.owner_app)}'
            f',"owner_identity":{"null" if identity is None else encode_basestring(identity)}'
            f',"access_policy":"{entry.access_policy}","created_at":"{created_at}"'
            f',"updated_at":"{updated_at}","expires_at":"{expires_at}"'
            f',"effective_expires_at":"{ends_at}","retrievals":{entry.retrievals or "null"}'
        )
    ]
    if entry.purged_at is not None:
        parts.append(f',"purged_at":"{format_time(entry.purged_at)}","purge_method":{_text(entry.purge_method)}')
    if viewed.value is not None:
        parts.append(f',"encrypted_value":{_shown(entry.encoding, viewed.value)}')
    if warnings:
        parts.append(f',"warnings":{json.dumps(list(warnings), ensure_ascii=False, separators=(",", ":"))}')
    parts.append(f',"metadata":{entry.metadata}}}')
    return "".join(parts).encode()


def _text(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _shown(encoding: ValueEncoding, value: bytes) -> str:
    """Return the value as a JSON string. Base64 needs no escaping."""
    if encoding is ValueEncoding.UTF_8:
        return encode_basestring(value.decode("utf-8"))
    return f'"{b64encode(value).decode("ascii")}"'


def list_json(entries: Iterable[tuple[EntryView, EntryState]], next_cursor: str | None) -> bytes:
    """Return a page of entries without values, each with its state."""
    shown = b",".join(entry_json(viewed, state=state) for viewed, state in entries)
    cursor = json.dumps(next_cursor).encode("ascii")
    return b'{"entries":[' + shown + b'],"next_cursor":' + cursor + b"}"


def access_row(record: AccessRecord) -> dict[str, Any]:
    """Return a row of the access log as JSON types, in the order of ``ACCESS_COLUMNS``."""
    stamp = record.stamp
    special = {
        "at": format_time(record.at),
        "entry_id": stamp.entry_id if stamp else None,
        "entry_version": stamp.version if stamp else None,
    }
    return {name: special[name] if name in special else getattr(record, name) for name in ACCESS_COLUMNS}


def archived_document(archived: ArchivedRows) -> dict[str, Any]:
    """Return the rows that are no longer in the vault as JSON types."""
    return {
        "archives": archived.archives,
        "end": archived.end,
        "absent_rows": archived.absent_rows,
        "newest_row_at": format_time(archived.newest_row_at),
        "places": list(archived.places),
    }


def archived_headers(archived: ArchivedRows | None) -> list[tuple[str, str]]:
    """Return the header that counts the rows that are no longer in the vault; none if all are.

    A stream of rows has no place for it in its body: a line that is no row would break what parses it.
    """
    if archived is None:
        return []
    counts = f"absent_rows={archived.absent_rows}, archives={archived.archives}, end={archived.end}"
    return [("X-Vault-Archived-Rows", f'{counts}, newest_row_at="{format_time(archived.newest_row_at)}"')]


def purge_row(record: PurgeRecord, scrubbed_at: datetime | None = None) -> dict[str, Any]:
    """Return a row of the purge log as JSON types, in the order of ``PURGE_COLUMNS``.

    ``scrubbed_at`` is null until a scrub has removed the bytes from the data files.
    """
    special = {
        "scrubbed_at": format_time(scrubbed_at) if scrubbed_at else None,
        "id": record.purge_id,
        "purged_at": format_time(record.purged_at),
        "expired_at": format_time(record.expired_at),
        "reason": record.reason.value,
    }
    return {name: special[name] if name in special else getattr(record, name) for name in PURGE_COLUMNS}


def key_ref_document(purpose: str, use: KeyRefUse) -> dict[str, Any]:
    """Return the entries of one key_ref in one purpose. ``key_ref`` is null for entries without one."""
    return {
        "purpose": purpose,
        "key_ref": use.key_ref,
        "entries": use.active + use.expired_pending_purge,
        "active": use.active,
        "expired_pending_purge": use.expired_pending_purge,
        "first_used_at": format_time(use.first_used_at),
        "last_used_at": format_time(use.last_used_at),
    }


def sweep_document(count: SweepCount) -> dict[str, Any]:
    """Return the result of a sweep. In a dry run ``purged`` counts what a sweep would purge, and ``completed`` is true."""
    return {
        "id": count.sweep_id,
        "dry_run": count.dry_run,
        "started_at": format_time(count.started_at),
        "finished_at": format_time(count.finished_at) if count.finished_at else None,
        "purged": count.purged,
        "failed": count.failed,
        "held": count.held,
        "completed": count.completed,
        "by_purpose": count.by_purpose,
        "scrub": scrub_document(count.scrub) if count.scrub else None,
    }


def scrub_document(scrub: ScrubRecord) -> dict[str, Any]:
    """Return the result of a scrub."""
    return {
        "id": scrub.scrub_id,
        "finished_at": format_time(scrub.finished_at),
        "completed": scrub.completed,
        "left": scrub.left,
    }
