"""SQLite and PostgreSQL answer alike: the same requests, one after another, the same answers but for ids and times."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import MARKER
from tests.support.postgres import Databases
from tests.support.server import ADMIN, VaultServer
from tests.support.wire import Answer

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
    (re.compile(rb'"storage": "(PostgreSQL|SQLite)"'), b'"storage": "product"'),
    (re.compile(rb'seconds": \d+\.\d+(e-\d+)?,'), b'seconds": 0,'),
)
_OF_THE_PROCESS = {"credentials", "database_roles", "hardening", "log_integrity", "system_state"}
"""Members of the report that tell when the server's process met what, how far it has signed, what it can reach, and who
can reach the tables."""

RULES = {"store": {}, "retrieve": {"allowed_apps": ["@owner", "billing"], "max_retrievals": 2}, "purge": {}}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, postgres: Databases) -> Iterator[tuple[VaultServer, VaultServer]]:
    name = postgres.create_database()
    pair: list[VaultServer] = []
    for url in (None, postgres.url(name)):
        directory: Path = tmp_path_factory.mktemp("same")
        server = VaultServer(directory, database_url=url, apps=pair[0].apps if pair else None)
        pair.append(server)
        server.start()
    try:
        yield pair[0], pair[1]
        for server in pair:
            assert server.stop() == 0
            server.assert_log_is_clean([MARKER])
    finally:
        for server in pair:
            server.kill()
        postgres.drop_database(name)


def requests() -> list[tuple[str | None, str, str, Any]]:
    """Return who asks what, in an order in which each thing happens at least once."""
    card = {"max_retention_days": 365, "default_ttl_days": 90, "purge_method": "physical-delete"}
    cold = {"max_retention_days": 30, "purge_method": "crypto-shred"}
    blob = {"encrypted_value": MARKER, "key_ref": "card-key-v7", "algorithm_hint": "AES-256-GCM"}
    names = ["a", "B", "a.b", "a:b", "a~b", "a-b", "aa", "Z", "0", "_"]
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
    hold = {"case_reference": "17", "reason": "r", "selector": {"external_id": "a", "metadata": {"ü": ["€", 1, None]}}}
    asked = {"app": "billing", "purposes": ["card"], "purpose": "card", "external_id": "a"}
    shared, short = "/admin/access-policies/shared", {**card, "max_retention_days": 9, "default_ttl_days": 1}
    rules = [
        (ADMIN, "PUT", shared, {"rules": {**RULES, "purge": None}}),
        *[
            ("auditor", "GET", f"{shared}/{rest}", None)
            for rest in ("versions?limit=1", "versions/1", "versions/2/diff")
        ],
        (ADMIN, "PUT", "/admin/legal-holds/case-17", hold),
        ("payments", "DELETE", "/vault/card/a", None),
        (ADMIN, "DELETE", "/vault/card/a", None),
        ("payments", "PUT", "/vault/card/a", blob),
        *[
            (ADMIN, "POST", "/admin/access-policies/explain", {**asked, "operation": each})
            for each in ("purge", "retrieve")
        ],
        (ADMIN, "POST", "/admin/access-policies/explain", {**asked, "operation": "retrieve", "external_id": "none"}),
        ("auditor", "POST", f"{shared}/replay?since=2020-01-01T00:00:00Z", {"rules": {}}),
        (ADMIN, "PUT", "/admin/retention-policies/card?dry_run=true", short),
        (ADMIN, "DELETE", "/admin/legal-holds/case-17", None),
        *[("auditor", "GET", f"/admin/legal-holds{rest}", None) for rest in ("?state=released", "/case-17/versions")],
        ("auditor", "GET", "/admin/retention-policies/card/versions/2/diff?from=1", None),
    ]
    return [
        ("payments", "PUT", "/vault/card/early", blob),
        (ADMIN, "PUT", "/admin/retention-policies/card", card),
        (ADMIN, "PUT", "/admin/retention-policies/cold", cold),
        (ADMIN, "PUT", "/admin/retention-policies/card", card),
        ("payments", "PUT", "/admin/retention-policies/card", card),
        (ADMIN, "PUT", "/admin/retention-policies/bad", {**card, "purge_method": "none"}),
        (ADMIN, "PUT", "/admin/access-policies/shared", {"rules": RULES}),
        (ADMIN, "PUT", "/admin/access-policies/owner-only", {"rules": RULES}),
        *[("payments", "PUT", f"/vault/card/{name}", blob) for name in names],
        *[("payments", "GET", f"/vault/card/{name}", None) for name in names],
        ("payments", "PUT", "/vault/card/a", blob),
        ("payments", "PUT", "/vault/card/a", {**blob, "encrypted_value": f"{MARKER}2", "metadata": {"ü": ["€", 1, None]}}),
        ("billing", "PUT", "/vault/card/a", blob),
        ("billing", "GET", "/vault/card/a", None),
        ("other", "GET", "/vault/card/a", None),
        ("auditor", "HEAD", "/vault/card/a", None),
        ("payments", "PUT", "/vault/card/s", {**blob, "access_policy": "shared"}),
        *[("billing", "GET", "/vault/card/s", None)] * 4,
        (ADMIN, "DELETE", "/admin/access-policies/shared", None),
        ("payments", "PUT", "/vault/card/w", {**blob, "access_policy": "nobody-knows"}),
        ("payments", "PUT", "/vault/card/late", {**blob, "expires_at": "2020-01-01T00:00:00Z"}),
        ("payments", "PUT", "/vault/card/long", {**blob, "expires_at": "2126-01-01T00:00:00Z"}),
        ("payments", "PUT", "/vault/card/odd", {**blob, "metadata": {"a": "\x00"}}),
        ("payments", "PUT", "/vault/card/wide", {**blob, "metadata": {"astral": "\U0001d11e", "big": 2**53 - 1, "f": 1e21}}),
        ("payments", "PUT", "/vault/card/extra", {**blob, "extra": 1}),
        ("archive", "PUT", "/vault/cold/x", {"encrypted_value": MARKER}),
        ("archive", "DELETE", "/vault/cold/x", None),
        ("archive", "GET", "/vault/cold/x", None),
        ("archive", "PUT", "/vault/cold/x", {"encrypted_value": MARKER}),
        ("payments", "DELETE", "/vault/card/B", None),
        ("payments", "DELETE", "/vault/card/B", None),
        ("payments", "GET", "/vault/card/%41", None),
        (None, "GET", "/vault/card/a", None),
        *rules,
        *listed,
        (ADMIN, "GET", "/admin/retention-policies", None),
        (ADMIN, "GET", "/admin/access-policies", None),
        (ADMIN, "POST", "/admin/purge/sweep?dry_run=true", None),
        (ADMIN, "POST", "/admin/purge/sweep", None),
        ("auditor", "GET", "/compliance/report", None),
        ("payments", "GET", "/compliance/report", None),
        *logs,
        (None, "GET", "/health", None),
    ]  # fmt: skip


def shown(answer: Answer) -> tuple[int, list[str], bytes]:
    """Return the answer without what no two answers share."""
    body = answer.body
    if body.startswith(b'{"as_of"'):
        members = json.loads(body).items()
        body = json.dumps({name: member for name, member in members if name not in _OF_THE_PROCESS}).encode()
    for pattern, mask in _MASKS:
        body = pattern.sub(mask, body)
    return answer.status, sorted(name.lower() for name, _ in answer.headers), body


def _differing(*answers: Answer) -> str:
    """Return the words that only one of the answers has: a report is too long to be read as a whole."""
    one, other = ({*re.split(rb"(?<=[,}\]]) ?", shown(answer)[2])} for answer in answers)
    return str(sorted(one ^ other))


def test_every_answer_is_the_same(servers: tuple[VaultServer, VaultServer]) -> None:
    sqlite, postgres = servers
    asked = requests()
    statuses = set()
    for who, method, target, body in asked:
        answers = [server.call(who, method, target, json_body=body) for server in (sqlite, postgres)]
        assert shown(answers[0]) == shown(answers[1]), (who, method, target, _differing(*answers))
        statuses.add(answers[0].status)
    assert {200, 201, 400, 401, 403, 404, 409, 410, 422} <= statuses
