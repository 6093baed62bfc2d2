"""The same requests to a vault on any storage, and its answers without what differs by chance: ids, times and keys."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vsqlvault.testing.running import key_of, running_vault

_MASKS = (
    (re.compile(rb'"[0-9a-f]{32}(\.\d+)?\\?"'), b'"id"'),
    (re.compile(rb"[0-9a-f]{64}"), b"hash"),
    (re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+Z"), b"time"),
    (re.compile(rb'"next_cursor":"[^"]+"'), b'"next_cursor":"cursor"'),
    (re.compile(rb"sha256:[0-9a-f]+"), b"key"),
    (re.compile(rb"sweep [0-9a-f]{32}"), b"sweep"),
    (re.compile(rb"scrub [0-9a-f]{32}: \d+ rewritten"), b"scrub"),
    (re.compile(rb'"version \d+"|\\"after\\":\d+'), b"schema"),
    (re.compile(rb'fingerprint\\":\\"[0-9a-f]{16}'), b"fingerprint"),
    (re.compile(rb'"log_signed_as": "[^"]+"'), b'"log_signed_as": "name"'),
    (re.compile(rb'"storage": "(PostgreSQL|SQLite|MariaDB|memory)"'), b'"storage": "product"'),
    (re.compile(rb'seconds": \d+\.\d+(e-\d+)?,'), b'seconds": 0,'),
)
_SCRUB_MASKS = (
    (re.compile(rb'"scrub":(null|\{[^}]*\})'), b'"scrub":"scrub"'),
    (re.compile(rb'"(scrub|scrubbed_at|scrub_completed|scrub_last_run)": ?(null|true|"[a-z ]+")'), b'"scrub"'),
    (re.compile(rb'"detail":"(nothing to do|scrub)"'), b'"detail":"scrub"'),
)
_OF_THE_PROCESS = {"credentials", "database_roles", "hardening", "log_integrity", "system_state"}
"""Members of the report that tell when the server's process met what, how far it has signed, what it can reach, and who
can reach the tables."""
APPS: Mapping[str, tuple[str, Sequence[str], Sequence[str]]] = {
    "payments": ("payments", ("card",), ()),
    "billing": ("billing", ("card",), ()),
    "other": ("other", ("ach",), ()),
    "archive": ("archive", ("card", "cold", "aged"), ()),
    "auditor": ("auditor", (), ("auditor",)),
    "vault-admin": ("vault-admin", (), ("admin",)),
}
"""The callers: app, purposes and roles."""
RULES = {"store": {}, "retrieve": {"allowed_apps": ["@owner", "billing"], "max_retrievals": 2}, "purge": {}}


_Asked = tuple[str | None, str, str, Any]
CARD = {"max_retention_days": 365, "default_ttl_days": 90, "purge_method": "physical-delete"}
COLD = {"max_retention_days": 30, "purge_method": "crypto-shred"}
NAMES = ["a", "B", "a.b", "a:b", "a~b", "a-b", "aa", "Z", "0", "_"]


class Request(NamedTuple):
    """A request of one of ``APPS``, or without a key."""

    app: str | None
    method: str
    target: str
    body: Any


class Shown(NamedTuple):
    """An answer without what no two answers share: status, names of headers, body."""

    status: int
    headers: list[str]
    body: bytes


def requests(value: str = "vault:v1:c2VjcmV0") -> list[Request]:
    """Return the requests, in an order in which each thing happens at least once. ``value`` is what entries store."""
    blob = {"encrypted_value": value, "key_ref": "card-key-v7", "algorithm_hint": "AES-256-GCM"}
    return [Request(*each) for each in (*_of_entries(blob), *_of_rules(blob), *_that_read())]


def _of_entries(blob: dict[str, Any]) -> list[_Asked]:
    value = blob["encrypted_value"]
    return [
        ("payments", "PUT", "/vault/card/early", blob),
        ("vault-admin", "PUT", "/admin/retention-policies/card", CARD),
        ("vault-admin", "PUT", "/admin/retention-policies/cold", COLD),
        ("vault-admin", "PUT", "/admin/retention-policies/card", CARD),
        ("payments", "PUT", "/admin/retention-policies/card", CARD),
        ("vault-admin", "PUT", "/admin/retention-policies/bad", {**CARD, "purge_method": "none"}),
        ("vault-admin", "PUT", "/admin/access-policies/shared", {"rules": RULES}),
        ("vault-admin", "PUT", "/admin/access-policies/owner-only", {"rules": RULES}),
        *[("payments", "PUT", f"/vault/card/{name}", blob) for name in NAMES],
        *[("payments", "GET", f"/vault/card/{name}", None) for name in NAMES],
        ("payments", "PUT", "/vault/card/a", blob),
        ("payments", "PUT", "/vault/card/a", {**blob, "encrypted_value": f"{value}2", "metadata": {"ü": ["€", 1, None]}}),
        ("billing", "PUT", "/vault/card/a", blob),
        ("billing", "GET", "/vault/card/a", None),
        ("other", "GET", "/vault/card/a", None),
        ("auditor", "HEAD", "/vault/card/a", None),
        ("payments", "PUT", "/vault/card/s", {**blob, "access_policy": "shared"}),
        *[("billing", "GET", "/vault/card/s", None)] * 4,
        ("vault-admin", "DELETE", "/admin/access-policies/shared", None),
        ("payments", "PUT", "/vault/card/w", {**blob, "access_policy": "nobody-knows"}),
        ("payments", "PUT", "/vault/card/late", {**blob, "expires_at": "2020-01-01T00:00:00Z"}),
        ("payments", "PUT", "/vault/card/long", {**blob, "expires_at": "2126-01-01T00:00:00Z"}),
        ("payments", "PUT", "/vault/card/odd", {**blob, "metadata": {"a": "\x00"}}),
        ("payments", "PUT", "/vault/card/wide", {**blob, "metadata": {"astral": "\U0001d11e", "big": 2**53 - 1, "f": 1e21}}),
        ("payments", "PUT", "/vault/card/extra", {**blob, "extra": 1}),
        ("archive", "PUT", "/vault/cold/x", {"encrypted_value": value}),
        ("archive", "DELETE", "/vault/cold/x", None),
        ("archive", "GET", "/vault/cold/x", None),
        ("archive", "PUT", "/vault/cold/x", {"encrypted_value": value}),
        ("payments", "DELETE", "/vault/card/B", None),
        ("payments", "DELETE", "/vault/card/B", None),
        ("payments", "GET", "/vault/card/%41", None),
        (None, "GET", "/vault/card/a", None),
    ]  # fmt: skip


def _of_rules(blob: dict[str, Any]) -> list[_Asked]:
    hold = {"case_reference": "17", "reason": "r", "selector": {"external_id": "a", "metadata": {"ü": ["€", 1, None]}}}
    asked = {"app": "billing", "purposes": ["card"], "purpose": "card", "external_id": "a"}
    shared, short = "/admin/access-policies/shared", {**CARD, "max_retention_days": 9, "default_ttl_days": 1}
    return [
        ("vault-admin", "PUT", shared, {"rules": {**RULES, "purge": None}}),
        *[
            ("auditor", "GET", f"{shared}/{rest}", None)
            for rest in ("versions?limit=1", "versions/1", "versions/2/diff")
        ],
        ("vault-admin", "PUT", "/admin/legal-holds/case-17", hold),
        ("payments", "DELETE", "/vault/card/a", None),
        ("vault-admin", "DELETE", "/vault/card/a", None),
        ("payments", "PUT", "/vault/card/a", blob),
        *[
            ("vault-admin", "POST", "/admin/access-policies/explain", {**asked, "operation": each})
            for each in ("purge", "retrieve")
        ],
        (
            "vault-admin",
            "POST",
            "/admin/access-policies/explain",
            {**asked, "operation": "retrieve", "external_id": "none"},
        ),
        ("auditor", "POST", f"{shared}/replay?since=2020-01-01T00:00:00Z", {"rules": {}}),
        ("vault-admin", "PUT", "/admin/retention-policies/card?dry_run=true", short),
        ("vault-admin", "DELETE", "/admin/legal-holds/case-17", None),
        *[("auditor", "GET", f"/admin/legal-holds{rest}", None) for rest in ("?state=released", "/case-17/versions")],
        ("auditor", "GET", "/admin/retention-policies/card/versions/2/diff?from=1", None),
    ]  # fmt: skip


def _that_read() -> list[_Asked]:
    listed = [
        ("payments", "GET", f"/vault/card?limit={limit}&{rest}", None)
        for limit in (1, 3, 1000)
        for rest in (
            "state=active",
            "state=expired",
            "state=purged",
            "key_ref=card-key-v7",
            "owner_app=billing",
            "key_ref=none",
        )
    ]
    logs = [
        ("auditor", "GET", f"/admin/{log}?{query}", None)
        for log in ("access-log", "purge-log")
        for query in (
            "order=asc",
            "order=desc&limit=3",
            "reason=requested",
            "external_id=a&limit=9",
            "since=2030-01-01T00:00:00Z",
            "x=1",
        )
    ]
    return [
        *listed,
        ("vault-admin", "GET", "/admin/retention-policies", None),
        ("vault-admin", "GET", "/admin/access-policies", None),
        ("vault-admin", "POST", "/admin/purge/sweep?dry_run=true", None),
        ("vault-admin", "POST", "/admin/purge/sweep", None),
        ("auditor", "GET", "/compliance/report", None),
        ("payments", "GET", "/compliance/report", None),
        *logs,
        (None, "GET", "/health", None),
    ]  # fmt: skip


def shown(status: int, headers: Iterable[str], body: bytes, *, has_scrub: bool = True) -> Shown:
    """Return an answer without what no two answers share."""
    if body.startswith(b'{"as_of"'):
        members = json.loads(body).items()
        body = json.dumps({name: member for name, member in members if name not in _OF_THE_PROCESS}).encode()
    for pattern, mask in _MASKS if has_scrub else (*_MASKS, *_SCRUB_MASKS):
        body = pattern.sub(mask, body)
    return Shown(status, sorted(name.lower() for name in headers), body)


def difference(one: Shown, other: Shown) -> str:
    """Return the words of the bodies that only one of two answers has: a report is too long to be read as a whole."""
    words = ({*re.split(rb"(?<=[,}\]]) ?", each.body)} for each in (one, other))
    return f"{one.status} {other.status} {sorted(next(words) ^ next(words))}"


def answers(
    directory: Path, database_url: str, plugins: Sequence[object] = (), *, has_scrub: bool = True
) -> list[tuple[Request, Shown]]:
    """Return the answers of a vault on this storage to each request. ``plugins`` offer the storage, unless it is built in.

    ``has_scrub=False``: without what they say of scrubs, to compare with a storage that has none.
    """
    keys = [
        {
            "app": app,
            "key_sha256": hashlib.sha256(key_of(name).encode()).hexdigest(),
            "purposes": purposes,
            "roles": roles,
        }
        for name, (app, purposes, roles) in APPS.items()
    ]
    settings = {"storage": {"database_url": database_url}, "auth": {"api_keys": keys}}
    found = []
    with running_vault(directory, plugins=plugins, settings=settings) as (_, client):
        for request in requests():
            answer = client.request(request.method, request.target, app=request.app, json=request.body)
            found.append((request, shown(answer.status, answer.headers, answer.body, has_scrub=has_scrub)))
    return found


def differences(one: Sequence[tuple[Request, Shown]], other: Sequence[tuple[Request, Shown]]) -> list[str]:
    """Return a line for each request with two answers."""
    pairs = zip(one, other, strict=True)
    return [f"{asked[:3]}: {difference(first, second)}" for (asked, first), (_, second) in pairs if first != second]
