"""Storing, retrieving, inspecting, purging and listing entries."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from vsqlvault.client.decoding import read
from vsqlvault.client.errors import FieldProblem, ValidationFailed
from vsqlvault.client.requests.paging import MAX_PAGE, listed
from vsqlvault.client.results.entries import Entry, EntryHead, RetrievedEntry, StoredEntry
from vsqlvault.client.results.rows import Purge
from vsqlvault.client.wire import (
    KEEP,
    Answer,
    Keep,
    Page,
    Repeat,
    Request,
    Time,
    bytes_of,
    conditions,
    duration,
    external_id_path,
    is_one_version,
    json_body,
    purpose_path,
    read_time,
    time_text,
    whole,
    without_none,
)

ROUTE = "/vault/{purpose}/{external_id}"
CREATED = 201


def put(
    purpose: str,
    external_id: str,
    value: bytes | str,
    *,
    key_ref: str | None = None,
    algorithm_hint: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    expires_at: Time | None = None,
    ttl: str | timedelta | None = None,
    access_policy: str | None = None,
    if_match: str | None = None,
    create_only: bool = False,
) -> Request[StoredEntry]:
    """Store a ciphertext: create the entry, or replace it.

    ``bytes`` travel as base64, ``str`` as text; ``get`` returns the same bytes. ``ttl`` (``"90d"``, ``"12h"`` or a
    ``timedelta``) is turned into ``expires_at`` by this machine's clock, once for all attempts. ``create_only`` never
    replaces, ``if_match`` replaces only that version; else PreconditionFailed.
    """
    content = bytes_of("value", value)
    body = without_none(
        encrypted_value=value if isinstance(value, str) else b64encode(content).decode("ascii"),
        encoding=None if isinstance(value, str) else "base64",
        key_ref=key_ref,
        algorithm_hint=algorithm_hint,
        metadata=metadata,
        expires_at=_expiry(expires_at, ttl),
        access_policy=access_policy,
    )

    def parse(answer: Answer) -> StoredEntry:
        return read(StoredEntry, answer.document(), answer, created=answer.status == CREATED)

    return Request(
        "PUT",
        ROUTE,
        _path(purpose, external_id),
        parse,
        Repeat.IDEMPOTENT,
        conditions(if_match, create_only=create_only),
        json_body(body),
    )


def update(
    purpose: str,
    external_id: str,
    *,
    metadata: Mapping[str, Any] | Keep | None = KEEP,
    expires_at: Time | Keep | None = KEEP,
    ttl: str | timedelta | None = None,
    access_policy: str | Keep | None = KEEP,
    if_match: str | None = None,
) -> Request[StoredEntry]:
    """Change expiry, metadata or access policy of an entry. The value stays, and nothing is purged.

    ``metadata`` is merged member by member; a member that is None is removed. ``metadata=None`` removes all of it,
    ``expires_at=None`` is the default of the retention policy, counted from now, ``access_policy=None`` is ``owner-only``.
    """
    is_reset = expires_at is None and ttl is None
    if isinstance(expires_at, Keep):
        expires_at = None
    body: dict[str, Any] = {"metadata": metadata, "access_policy": access_policy}
    body = {name: value for name, value in body.items() if value is not KEEP}
    expiry = _expiry(expires_at, ttl)
    if expiry is not None or is_reset:
        body["expires_at"] = expiry

    def parse(answer: Answer) -> StoredEntry:
        return read(StoredEntry, answer.document(), answer, created=False)

    repeat = Repeat.ONCE if is_reset and not is_one_version(if_match) else Repeat.IDEMPOTENT
    path = _path(purpose, external_id)
    return Request("PATCH", ROUTE, path, parse, repeat, conditions(if_match), json_body(body))


def get(
    purpose: str, external_id: str, *, if_match: str | None = None, if_none_match: str | None = None
) -> Request[RetrievedEntry]:
    """Retrieve an entry with its value.

    ``if_none_match`` is the entity tag of a version that the caller has: for the same version NotModified is raised, and no
    retrieval is counted. With ``if_match`` another version is PreconditionFailed.

    Where the access policy limits retrievals, each one counts, also one whose answer is lost on the way. So this is not
    repeated once it was sent, unless the client is set to.
    """

    def parse(answer: Answer) -> RetrievedEntry:
        document = answer.document()
        return read(RetrievedEntry, document, answer, value=_value(document, answer))

    headers = conditions(if_match, if_none_match=if_none_match)
    return Request("GET", ROUTE, _path(purpose, external_id), parse, Repeat.ONCE, headers)


def head(
    purpose: str, external_id: str, *, if_match: str | None = None, if_none_match: str | None = None
) -> Request[EntryHead]:
    """Inspect an entry: its entity tag, times and access policy. The value is not read and no retrieval is counted.

    ``if_match`` and ``if_none_match`` are conditions as those of ``get``.
    """

    def parse(answer: Answer) -> EntryHead:
        headers = answer.headers
        try:
            return EntryHead(
                etag=headers["etag"],
                created_at=read_time(headers["x-vault-created-at"]),
                expires_at=read_time(headers["x-vault-expires-at"]),
                access_policy=headers["x-vault-access-policy"],
            )
        except (KeyError, ValueError):
            raise answer.unexpected("expected the headers of an entry") from None

    headers = conditions(if_match, if_none_match=if_none_match)
    return Request("HEAD", ROUTE, _path(purpose, external_id), parse, Repeat.READ, headers)


def delete(
    purpose: str, external_id: str, *, if_match: str | None = None, wait_seconds: int | None = None
) -> Request[Purge]:
    """Purge an entry and return the row that proves it.

    ``wait_seconds`` (at most 10) asks for the receipt, too; it is None where it was not ready in time. With ``if_match`` the
    request is repeated after a lost connection: it can only destroy that version. Without, it is not: it could destroy an
    entry that was stored under the id meanwhile.
    """
    headers = conditions(if_match)
    if wait_seconds is not None:
        headers = (*headers, ("Prefer", f"wait={whole('wait_seconds', wait_seconds)}"))
    repeat = Repeat.IDEMPOTENT if is_one_version(if_match) else Repeat.ONCE
    path = _path(purpose, external_id)
    return Request("DELETE", ROUTE, path, lambda answer: read(Purge, answer.document(), answer), repeat, headers)


def list_entries(
    purpose: str,
    *,
    key_ref: str | None = None,
    owner_app: str | None = None,
    access_policy: str | None = None,
    expires_before: Time | None = None,
    state: str | None = None,
    page_size: int = MAX_PAGE,
) -> Request[Page[Entry]]:
    """List the entries of a purpose that the caller may inspect, without values, by external_id.

    ``state`` is ``active`` (the default), ``expired`` or ``purged``.
    """
    filters = {
        "key_ref": key_ref,
        "owner_app": owner_app,
        "access_policy": access_policy,
        "expires_before": expires_before,
        "state": state,
    }
    path = f"/vault/{purpose_path(purpose)}"
    return listed(Entry, "entries", "/vault/{purpose}", path, filters, page_size=page_size)


def _path(purpose: str, external_id: str) -> str:
    return f"/vault/{purpose_path(purpose)}/{external_id_path(external_id)}"


def _expiry(expires_at: Time | None, ttl: str | timedelta | None) -> str | None:
    if ttl is None:
        return None if expires_at is None else time_text("expires_at", expires_at)
    if expires_at is not None:
        raise ValidationFailed(errors=[FieldProblem("ttl", "not together with expires_at")])
    return time_text("ttl", datetime.now(timezone.utc).replace(microsecond=0) + duration(ttl))


def _value(document: Mapping[str, Any], answer: Answer) -> bytes:
    """Return the value, if its SHA-256 is the one the vault names. Raises UnexpectedAnswer."""
    text = document.get("encrypted_value")
    try:
        value = b64decode(text, validate=True) if document.get("encoding") == "base64" else text.encode("utf-8")  # type: ignore[arg-type, union-attr]
    except (AttributeError, TypeError, ValueError):
        raise answer.unexpected("expected an encrypted_value") from None
    if hashlib.sha256(value).hexdigest() != document.get("value_sha256"):
        raise answer.unexpected("expected a value with the SHA-256 that stands beside it")
    return value
