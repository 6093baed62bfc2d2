"""Whatever is sent: an answer in time, and never a 500. Made from seeds, so that a failure comes again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.server import ADMIN, VaultServer
from tests.support.wire import Answer, exchange, request_bytes

PER_SEED = 60
SEEDS = range(10)
ALPHABET = (
    "\u0000\u0001\t\n\r\u001b\u007f\u0085\u00a0\u00e9\u0301\u200b\u202e\u2028\u2066\u20ac\ufdd0\ufeff\ufffe\uffff"
    "\U0001f600\U0010ffff'\"\\/<>&;|`$(){}[]%#@!?*+=-_.:,~^ 0aZ\u0661\uff11"
)
TARGETS = [
    ("PUT", "/vault/card/hostile"),
    ("PUT", "/admin/retention-policies/hostile"),
    ("PUT", "/admin/access-policies/hostile"),
]
LISTS = ["/vault/card", "/admin/access-log", "/admin/purge-log", "/compliance/report", "/admin/access-policies"]
MEMBERS = [
    "limit", "cursor", "state", "key_ref", "owner_app", "access_policy", "expires_before", "since", "until", "order",
    "purpose", "external_id", "app", "method", "reason", "request_id", "operation", "outcome", "identity", "status",
    "policy", "purge_id", "as_of", "dry_run", "client_address", "credential_id",
]  # fmt: skip
HEADERS = ["Accept", "Content-Type", "Content-Encoding", "If-Match", "If-None-Match", "Authorization", "User-Agent",
           "Cookie", "Range", "X-Forwarded-For", "Accept-Encoding", "Origin", "Referer", "X-Request-Id"]  # fmt: skip
SCALARS: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**53 - 1, 2**63, 10**30, 1.5, -0.0, 1e308, 5e-324, "", "x", "0", "null",
    "2027-02-16T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "owner-only", "utf-8", "base64",
    "physical-delete", "@owner", "\ud800", "a" * 5000, [], {}, [[]], {"": ""},
]  # fmt: skip
FIELDS = [
    "encrypted_value", "encoding", "algorithm_hint", "key_ref", "metadata", "expires_at", "access_policy", "rules",
    "evaluator", "parameters", "description", "max_retention_days", "default_ttl_days", "purge_method",
    "require_purge_proof", "justification", "store", "retrieve", "inspect", "purge", "allowed_apps", "max_retrievals",
    "require_identity", "any_purpose", "__proto__", "",
]  # fmt: skip
INSTANTS = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "1582-10-04T00:00:00-23:59"]


def text(rng: random.Random, length: int = 12) -> str:
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randrange(length)))


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.5 or depth > 3:
        return rng.choice(SCALARS)
    if kind < 0.65:
        return text(rng)
    if kind < 0.8:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice([*FIELDS, text(rng)]): value(rng, depth + 1) for _ in range(rng.randrange(5))}


def strange_document(rng: random.Random) -> tuple[str, bytes, list[tuple[str, str]], bytes]:
    method, target = rng.choice(TARGETS)
    document = {name: value(rng) for name in rng.sample(FIELDS, rng.randrange(1, 8))}
    return method, target.encode(), [], json.dumps(document).encode()


def broken_document(rng: random.Random) -> tuple[str, bytes, list[tuple[str, str]], bytes]:
    method, target = rng.choice(TARGETS)
    good: dict[str, Any] = {"encrypted_value": "v", "metadata": {"a": [1, 2.5, None, "\u20ac"]}, "key_ref": "k"}
    if "retention" in target:
        good = {"max_retention_days": 30, "purge_method": "physical-delete"}
    if "access" in target:
        good = {"rules": {"retrieve": {"allowed_apps": ["billing"], "max_retrievals": 3}}}
    body = bytearray(json.dumps(good).encode())
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(body))
        change = rng.randrange(4)
        if change == 0:
            body[place] = rng.randrange(256)
        elif change == 1:
            del body[place : place + rng.randrange(1, 4)]
        elif change == 2:
            body[place:place] = rng.choice(
                [b"{", b"[", b'"', b"\\u0000", b"\\", b",", b"1e999", b"\xff", b"NaN", b"\0"]
            )
        else:
            body += body[: rng.randrange(1, 20)]
        if not body:
            break
    return method, target.encode(), [], bytes(body)


def strange_query(rng: random.Random) -> tuple[str, bytes, list[tuple[str, str]], None]:
    parts = []
    for _ in range(rng.randrange(1, 4)):
        raw = rng.choice([text(rng), rng.choice(INSTANTS), str(rng.choice(SCALARS))]).encode("utf-8", "surrogatepass")
        shown = b"".join(
            b"%%%02X" % byte if rng.random() < 0.7 or byte < 33 or byte > 126 else bytes([byte]) for byte in raw
        )
        parts.append(rng.choice(MEMBERS).encode() + rng.choice([b"=", b"=", b"=", b"", b"=="]) + shown)
    method = "POST" if rng.random() < 0.1 else "GET"
    path = "/admin/purge/sweep" if method == "POST" else rng.choice(LISTS)
    return method, path.encode() + b"?" + b"&".join(parts).replace(b"#", b"%23"), [], None


def likely_query(rng: random.Random) -> tuple[str, bytes, list[tuple[str, str]], None]:
    """Members that fit their route, with values from the edges."""
    members = {
        "/vault/card": ["limit", "cursor", "state", "key_ref", "owner_app", "access_policy", "expires_before"],
        "/admin/access-log": [
            "limit",
            "cursor",
            "order",
            "since",
            "until",
            "purpose",
            "status",
            "outcome",
            "operation",
        ],
        "/admin/purge-log": ["limit", "cursor", "order", "since", "until", "purge_id", "key_ref"],
        "/compliance/report": ["as_of"],
    }
    path = rng.choice(list(members))
    values = {"limit": ["1", "1000", "0"], "state": ["active", "expired", "purged"], "order": ["asc", "desc"]}
    values |= {"outcome": ["granted", "denied"], "status": ["0", "200", "999999999"]}
    values |= dict.fromkeys(["since", "until", "expires_before", "as_of"], INSTANTS)
    chosen = rng.sample(members[path], rng.randrange(1, len(members[path]) + 1))
    query = "&".join(f"{name}={rng.choice(values.get(name, ['x', 'store', '%E2%82%AC']))}" for name in chosen)
    return "GET", f"{path}?{query}".encode(), [], None


def strange_path(rng: random.Random) -> tuple[str, bytes, list[tuple[str, str]], None]:
    pieces = [
        "vault",
        "card",
        "admin",
        "..",
        ".",
        "",
        "access-log",
        "%2e",
        "%00",
        "%ff",
        "hostile",
        "a" * 300,
        text(rng),
    ]
    path = "/" + "/".join(rng.choice(pieces) for _ in range(rng.randrange(6)))
    raw = path.encode("utf-8", "surrogatepass")
    raw = bytes(byte for byte in raw if byte > 32 and byte not in b"#?")
    return rng.choice(["GET", "PUT", "DELETE", "HEAD", "POST", "PATCH"]), raw, [], None


def strange_headers(rng: random.Random) -> tuple[str, bytes, list[tuple[str, str]], bytes | None]:
    method = rng.choice(["GET", "PUT", "DELETE", "HEAD"])
    headers = [
        (
            name,
            "".join(
                chr(rng.choice([*range(33, 127), *range(160, 256), 32])) for _ in range(rng.randrange(1, 40))
            ).strip()
            or "x",
        )
        for name in rng.sample(HEADERS, rng.randrange(1, 6))
    ]
    target = rng.choice(["/vault/card/hostile", "/admin/access-log", "/docs"])
    return method, target.encode(), headers, b'{"encrypted_value":"v"}' if method == "PUT" else None


KINDS: list[Callable[[random.Random], tuple[str, bytes, list[tuple[str, str]], bytes | None]]] = [
    strange_document, broken_document, strange_query, likely_query, strange_path, strange_headers,
]  # fmt: skip


def send(vault: VaultServer, rng: random.Random, number: int) -> tuple[bytes, Answer]:
    method, target, headers, body = KINDS[number % len(KINDS)](rng)
    headers = [*headers, ("X-Vault-Key", vault.key(rng.choice([ADMIN, ADMIN, ADMIN, "payments"])))]
    if body is not None and not any(name == "Content-Type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    raw = request_bytes(method, target, headers=headers, body=body)
    return raw, exchange(vault.address, raw, method=method, seconds=3)


@pytest.mark.parametrize("seed", SEEDS)
def test_hostile_requests_get_an_answer_and_never_a_500(vault: VaultServer, seed: int) -> None:
    rng = random.Random(seed)
    failed = []
    for number in range(PER_SEED):
        raw, answer = send(vault, rng, number)
        if answer.status >= 500:
            failed.append((answer.status, raw.replace(vault.admin_key.encode(), b"KEY")))
    assert not failed


@pytest.mark.parametrize("seed", range(100, 103))
def test_every_refusal_of_a_hostile_request_has_its_row(vault: VaultServer, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(PER_SEED):
        raw, answer = send(vault, rng, number)
        if 400 <= answer.status < 500 and answer.status != 401 and answer.header("x-request-id"):
            rows = vault.rows(f"request_id={answer.request_id}")
            assert [(row["outcome"], row["status"]) for row in rows] == [("denied", answer.status)], raw
