"""The script's parts, without a vault."""

from __future__ import annotations

import io
import itertools
import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import httpx
import pytest
import rotate_keys
from rotate_keys import Job, Outcome, Progress, Rotation, Unusable

from vsqlvault.client import Retries, Vault
from vsqlvault.client.sealed import DataKey, SealedVault, StaticKeyRing, seal

OLD, NEW = b"o" * 32, b"n" * 32
RING = StaticKeyRing({"old": OLD, "new": NEW}, "new")
JOB = Job("card", "old")
Give = Callable[[httpx.Request], httpx.Response]


def problem(status: int, slug: str = "") -> httpx.Response:
    return httpx.Response(status, json={"type": f"urn:vsqlvault:problem:{slug}", "detail": "a secret"} if slug else {})


def found(external_id: str = "e1", key_ref: str = "old") -> httpx.Response:
    key = DataKey(key_ref, NEW if key_ref == "new" else OLD)
    return httpx.Response(200, json=entry(external_id, seal(key, "card", external_id, b"plain"), key_ref))


def entry(external_id: str, value: bytes, key_ref: str) -> dict[str, Any]:
    time_ = "2027-01-01T00:00:00Z"
    return {
        "purpose": "card", "external_id": external_id, "entry_id": "e" * 32, "version": 1, "state": "active",
        "encoding": "base64", "value_sha256": sha256(value).hexdigest(), "value_size": len(value), "algorithm_hint": None,
        "key_ref": key_ref, "owner_app": "a", "owner_identity": None, "access_policy": "owner-only", "created_at": time_,
        "updated_at": time_, "expires_at": time_, "effective_expires_at": time_, "retrievals": 0, "metadata": {},
        "encrypted_value": b64encode(value).decode(),
    }  # fmt: skip


def scripted(give: Give, asked: list[str] | None = None) -> SealedVault:
    """Return a vault whose answers a function gives."""

    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(f"{request.method} {request.url.path} {request.headers.get('If-Match')}")
        return give(request)

    retries = Retries(max_attempts=3, first_pause_seconds=0, max_pause_seconds=0)
    return SealedVault(Vault("https://vault", key="k", transport=httpx.MockTransport(answer), retries=retries), RING)


def stored(request: httpx.Request) -> httpx.Response:
    body = json.loads(request.content)
    return httpx.Response(200, json={**entry("e1", b"", body["key_ref"]), "version": 2})


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (problem(404, "not-found"), Outcome.GONE),
        (problem(410, "expired"), Outcome.GONE),
        (problem(409, "id-retired"), Outcome.GONE),
        (problem(412, "precondition-failed"), Outcome.TAKEN),
        (problem(423, "legal-hold"), Outcome.HELD),
        (None, Outcome.MOVED),
    ],
)
def test_each_answer_to_replacing_has_its_outcome(answer: httpx.Response | None, outcome: Outcome) -> None:
    asked: list[str] = []
    vault = scripted(lambda request: found() if request.method == "GET" else answer or stored(request), asked)
    assert rotate_keys.move(vault, JOB, "e1") == (outcome, "")
    assert asked == ["GET /vault/card/e1 None", f'PUT /vault/card/e1 "{"e" * 32}.1"']


@pytest.mark.parametrize("key_ref", ["new", "a third one"])
def test_an_entry_that_another_has_moved_is_not_written(key_ref: str) -> None:
    asked: list[str] = []
    assert rotate_keys.move(scripted(lambda _: found(key_ref=key_ref), asked), JOB, "e1")[0] is Outcome.TAKEN
    assert len(asked) == 1


def test_a_refusal_is_reported_by_status_and_slug_only() -> None:
    assert rotate_keys.move(scripted(lambda _: problem(403, "access-denied")), JOB, "e1") == (
        Outcome.FAILED,
        "403 access-denied",
    )
    assert rotate_keys.move(scripted(lambda _: problem(503, "plugin-failure")), JOB, "e1")[1] == "503 plugin-failure"


@pytest.mark.parametrize(
    "answer", [problem(401), problem(507, "storage-full"), problem(503, "overloaded"), problem(429)]
)
def test_what_repeating_does_not_help_ends_it(answer: httpx.Response) -> None:
    with pytest.raises(Unusable, match=str(answer.status_code)):
        rotate_keys.move(scripted(lambda _: answer), JOB, "e1")


def test_a_retrieval_whose_answer_was_lost_is_repeated() -> None:
    assert rotate_keys.RETRIES.repeat_retrievals


def listing(*ids: str) -> httpx.Response:
    found = [{**entry(each, b"", "old"), "encrypted_value": None} for each in ids]
    return httpx.Response(200, json={"entries": found, "next_cursor": None})


def test_a_vault_that_is_lost_half_way_ends_every_worker() -> None:
    every = listing(*(f"e{number}" for number in range(100)))
    vault = scripted(lambda request: every if request.url.path == "/vault/card" else problem(401))
    with pytest.raises(Unusable):
        Rotation(vault, JOB, Progress(None, io.StringIO()), threading.Event(), 3).run()
    assert threading.active_count() == 1


def test_an_answer_that_is_not_understood_is_one_failure_and_no_more() -> None:
    vault = scripted(
        lambda request: listing("e1", "e2") if request.url.path == "/vault/card" else httpx.Response(200, json={})
    )
    progress = Progress(None, io.StringIO())
    Rotation(vault, JOB, progress, threading.Event(), 1).run()
    assert progress.counts == {Outcome.FAILED: 2}
    assert set(progress.left_behind) == {"e1", "e2"}


def test_the_parts_take_every_id_once_and_about_as_many_each() -> None:
    ids = [f"payment-{number}" for number in range(3000)]
    jobs = [Job("card", "old", part, 3) for part in (1, 2, 3)]
    taken = [[external_id for external_id in ids if job.is_ours(external_id)] for job in jobs]
    assert sorted(itertools.chain(*taken)) == sorted(ids)
    assert min(len(part) for part in taken) > 900


def test_the_bar_tells_how_far_how_fast_and_how_long() -> None:
    progress = Progress(1000, io.StringIO())
    for number in range(250):
        progress.count(f"e{number}", Outcome.MOVED)
    assert progress.bar(5.0) == "[######------------------] 250/1,000  50/s  15 s left"
    assert Progress(0, io.StringIO()).bar(0.0) == "[------------------------] 0/1  0/s  time left unknown"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1, 100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    for out, shown in ((Terminal(), True), (io.StringIO(), False)):
        Progress(10, out).count("e1", Outcome.MOVED)
        assert ("1/10" in out.getvalue()) is shown


def test_what_was_left_behind_is_named_up_to_a_point() -> None:
    out = io.StringIO()
    progress = Progress(None, out)
    for number in range(rotate_keys.MAX_NAMED_FAILURES + 5):
        progress.count(f"e{number}", Outcome.HELD)
    progress.finish()
    lines = out.getvalue().splitlines()
    assert lines[0] == "not moved: e0: under legal hold"
    assert lines[-2] == "not moved: 5 more"
    assert "under legal hold 105" in lines[-1]
