"""API keys, key references, sweeps, evidence and the transparency log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vsqlvault.client.decoding import read
from vsqlvault.client.requests.paging import listed
from vsqlvault.client.results.service import ApiKey, CreatedApiKey, KeyRefUse, Sweep
from vsqlvault.client.wire import (
    Answer,
    Page,
    Repeat,
    Request,
    Time,
    id_path,
    json_body,
    query_of,
    texts,
    time_text,
    whole,
    without_none,
)

KEYS = "/admin/api-keys"
SWEEP = "/admin/purge/sweep"
REVIEWS = "/admin/access-reviews"


def create_key(
    app: str,
    *,
    purposes: Sequence[str] = (),
    roles: Sequence[str] = (),
    identity: str | None = None,
    expires_at: Time | None = None,
    description: str | None = None,
) -> Request[CreatedApiKey]:
    """Make an API key. ``purposes`` ``["*"]`` grants all. The result has the only copy of the key."""
    body = without_none(
        app=app,
        purposes=texts("purposes", purposes),
        roles=texts("roles", roles),
        identity=identity,
        expires_at=None if expires_at is None else time_text("expires_at", expires_at),
        description=description,
    )

    def parse(answer: Answer) -> CreatedApiKey:
        return read(CreatedApiKey, answer.document(), answer)

    return Request("POST", KEYS, KEYS, parse, Repeat.ONCE, body=json_body(body))


def get_key(key_id: str) -> Request[ApiKey]:
    """Read what an API key grants."""
    return _key("GET", key_id, Repeat.READ)


def revoke_key(key_id: str) -> Request[ApiKey]:
    """Refuse an API key from now on, and return what it granted."""
    return _key("DELETE", key_id, Repeat.IDEMPOTENT)


def list_keys(*, app: str | None = None, state: str | None = None) -> Request[Page[ApiKey]]:
    """List the API keys that the storage keeps, oldest first, revoked and expired ones among them."""
    return listed(ApiKey, "api_keys", KEYS, KEYS, {"app": app, "state": state})


def key_refs(*, purpose: str | None = None, key_ref: str | None = None) -> Request[Page[KeyRefUse]]:
    """List which keys encrypted the stored values, with the number of entries."""
    path = "/admin/key-refs"
    return listed(KeyRefUse, "key_refs", path, path, {"purpose": purpose, "key_ref": key_ref})


def sweep(*, dry_run: bool = False, confirm_clock: bool = False) -> Request[Sweep]:
    """Purge everything that has expired. ``dry_run`` only counts; ``confirm_clock`` says the clock is right."""
    path = SWEEP + query_of(dry_run=dry_run or None, confirm_clock=confirm_clock or None)
    repeat = Repeat.READ if dry_run else Repeat.ONCE
    return Request("POST", SWEEP, path, lambda answer: read(Sweep, answer.document(), answer), repeat)


def report(
    *, as_of: Time | None = None, since: Time | None = None, until: Time | None = None
) -> Request[Mapping[str, Any]]:
    """Return the compliance report. ``as_of`` fixes the instant; rows of the logs count from ``since`` to ``until``."""
    return _read("/compliance/report", query_of(as_of=as_of, since=since, until=until))


def controls() -> Request[Mapping[str, Any]]:
    """Return every control and whether it works."""
    return _read("/health/controls")


def health() -> Request[Mapping[str, Any]]:
    """Return the state of the server; admins and auditors also read its version, storage and plugins."""
    return _read("/health")


def receipt(purge_id: str) -> Request[Mapping[str, Any]]:
    """Return the receipt of a purge, for ``verify_receipt``. ReceiptPending is repeated."""
    route = "/admin/purge-log/{purge_id}/receipt"
    return Request("GET", route, f"/admin/purge-log/{id_path(purge_id)}/receipt", Answer.document, Repeat.READ)


def checkpoint() -> Request[str]:
    """Return the newest checkpoint of the transparency log, a signed note, for ``verify_checkpoint``."""
    return Request("GET", "/audit/checkpoint", "/audit/checkpoint", Answer.text, Repeat.READ)


def verifier_key() -> Request[str]:
    """Return the key that verifies the checkpoints. Compare it with one from another source."""
    return Request("GET", "/audit/vkey", "/audit/vkey", lambda answer: answer.text().strip(), Repeat.READ)


def inclusion_proof(index: int) -> Request[str]:
    """Return the proof that a row of the logs is under the newest checkpoint."""
    return Request("GET", "/audit/proof/{index}", f"/audit/proof/{whole('index', index)}", Answer.text, Repeat.READ)


def consistency_proof(first: int, second: int) -> Request[Mapping[str, Any]]:
    """Return the proof that the log of ``first`` rows is how that of ``second`` rows begins."""
    return _read("/audit/consistency", query_of(**{"from": whole("first", first), "to": whole("second", second)}))


def attest() -> Request[Mapping[str, Any]]:
    """Attest retention now, and return the attestation."""
    return Request("POST", "/admin/attestations", "/admin/attestations", Answer.document, Repeat.ONCE)


def review_access(
    statement: str, *, purpose: str | None = None, interval_days: int | None = None, may_sha256: str | None = None
) -> Request[Mapping[str, Any]]:
    """Record a review of the access to a purpose, or to all, and return it as it was signed.

    ``may_sha256`` is the digest of the list that was reviewed, from the report; ValidationFailed if it is another list now.
    """
    body = without_none(statement=statement, purpose=purpose, interval_days=interval_days, may_sha256=may_sha256)
    return Request("POST", REVIEWS, REVIEWS, Answer.document, Repeat.ONCE, body=json_body(body))


def _read(route: str, query: str = "") -> Request[Mapping[str, Any]]:
    return Request("GET", route, route + query, Answer.document, Repeat.READ)


def _key(method: str, key_id: str, repeat: Repeat) -> Request[ApiKey]:
    path = f"{KEYS}/{id_path(key_id)}"
    return Request(method, f"{KEYS}/{{key_id}}", path, lambda answer: read(ApiKey, answer.document(), answer), repeat)
