"""The script's parts, without a vault."""

from __future__ import annotations

import io
import itertools
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
import rotate_keys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rotate_keys import Answer, Job, Outcome, Progress, Refused, Unusable, Vault

OLD, NEW = AESGCM(b"o" * 32), AESGCM(b"n" * 32)
JOB = Job("card", "old", "new", OLD, NEW, "place")


class Scripted(Vault):
    """A vault whose answers a function gives."""

    def __init__(self, give: Callable[[str, str, Any], Answer | Exception]) -> None:
        super().__init__("http://localhost:1", "key", "X-Vault-Key", None, threading.Event())
        self.give = give
        self.asked: list[tuple[str, str, str | None]] = []

    def _once(self, method: str, target: str, payload: bytes | None, headers: dict[str, str]) -> Answer:
        self.asked.append((method, target, headers.get("If-Match")))
        answer = self.give(method, target, payload)
        if isinstance(answer, Exception):
            raise answer
        return answer


def found(external_id: str = "e1", **fields: Any) -> Answer:
    value = rotate_keys.sealed(OLD, b"plain", f"card/{external_id}".encode())
    entry: dict[str, Any] = {
        "external_id": external_id,
        "key_ref": "old",
        "encoding": "base64",
        "encrypted_value": b64encode(value).decode(),
        "algorithm_hint": None,
        "metadata": {},
        "effective_expires_at": "2027-01-01T00:00:00Z",
        "access_policy": "owner-only",
    }
    return Answer(200, '"id.1"', {**entry, **fields})


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate_keys, "MAX_PAUSE_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (404, Outcome.GONE),
        (410, Outcome.GONE),
        (409, Outcome.GONE),
        (412, Outcome.TAKEN),
        (423, Outcome.HELD),
        (200, Outcome.MOVED),
    ],
)
def test_each_answer_to_replacing_has_its_outcome(status: int, outcome: Outcome) -> None:
    vault = Scripted(lambda method, *_: found() if method == "GET" else Answer(status, None, {}))
    assert rotate_keys.move(vault, JOB, "e1") is outcome
    assert vault.asked == [("GET", "/vault/card/e1", None), ("PUT", "/vault/card/e1", '"id.1"')]


def test_an_entry_that_another_has_moved_is_not_written() -> None:
    vault = Scripted(lambda *_: found(key_ref="new"))
    assert rotate_keys.move(vault, JOB, "e1") is Outcome.TAKEN
    assert len(vault.asked) == 1


def test_a_refusal_is_told_by_status_and_kind_and_by_no_other_word() -> None:
    problem = {"type": "urn:vsqlvault:problem:access-denied", "detail": "a secret"}
    with pytest.raises(Refused, match=r"^reading: 403 access-denied$"):
        rotate_keys.move(Scripted(lambda *_: Answer(403, None, problem)), JOB, "e1")
    with pytest.raises(Refused, match=r"^reading: 403$"):
        rotate_keys.move(Scripted(lambda *_: Answer(403, None, {"type": "\x1b[2J"})), JOB, "e1")


@pytest.mark.parametrize("trouble", [OSError(), ConnectionResetError(), Answer(503, None, {}), Answer(429, None, {})])
def test_what_may_pass_is_tried_again(trouble: Answer | Exception) -> None:
    troubles = [trouble] * 3
    vault = Scripted(lambda *_: troubles.pop() if troubles else found())
    assert vault.call("GET", "/vault/card/e1").status == 200
    assert len(vault.asked) == 4


def test_a_vault_that_does_not_answer_is_given_up() -> None:
    vault = Scripted(lambda *_: OSError())
    with pytest.raises(Unusable, match="OSError"):
        vault.call("GET", "/vault/card/e1")
    assert len(vault.asked) == rotate_keys.MAX_TRIES


@pytest.mark.parametrize("status", [401, 507])
def test_what_no_repeating_helps_ends_it(status: int) -> None:
    vault = Scripted(lambda *_: Answer(status, None, {}))
    with pytest.raises(Unusable):
        vault.call("PUT", "/vault/card/e1", {})
    assert len(vault.asked) == 1


def test_a_policy_that_fails_for_one_entry_does_not_end_the_rest() -> None:
    problem = {"type": "urn:vsqlvault:problem:plugin-failure"}
    vault = Scripted(lambda *_: Answer(503, None, problem))
    with pytest.raises(Refused, match="plugin-failure"):
        rotate_keys.move(vault, JOB, "e1")
    assert len(vault.asked) == 1


def listing(*ids: str) -> Answer:
    return Answer(200, None, {"entries": [{"external_id": each} for each in ids], "next_cursor": None})


@pytest.mark.parametrize("lost", [OSError(), Answer(401, None, {})])
def test_a_vault_that_is_lost_half_way_ends_every_worker(lost: Answer | Exception) -> None:
    lister = Scripted(lambda *_: listing(*(f"e{number}" for number in range(100))))
    workers = [Scripted(lambda *_: lost) for _ in range(3)]
    with pytest.raises(Unusable):
        rotate_keys.rotate([lister, *workers], JOB, Progress(None, io.StringIO()), threading.Event())
    assert threading.active_count() == 1


def test_an_answer_that_is_not_understood_is_one_failure_and_no_more() -> None:
    lister = Scripted(lambda *_: listing("e1", "e2"))
    worker = Scripted(lambda *_: Answer(200, None, {}))
    progress = Progress(None, io.StringIO())
    rotate_keys.rotate([lister, worker], JOB, progress, threading.Event())
    assert progress.counts == {Outcome.FAILED: 2}
    assert set(progress.left_behind) == {"e1", "e2"}


def test_the_parts_take_every_id_once_and_about_as_many_each() -> None:
    ids = [f"payment-{number}" for number in range(3000)]
    jobs = [Job("card", "old", "new", OLD, NEW, "place", part, 3) for part in (1, 2, 3)]
    taken = [[external_id for external_id in ids if job.is_ours(external_id)] for job in jobs]
    assert sorted(itertools.chain(*taken)) == sorted(ids)
    assert min(len(part) for part in taken) > 900


@pytest.mark.parametrize("text", [b"k" * 32, b"6b" * 32, b"  " + b"6b" * 32 + b"\n", b64encode(b"k" * 32) + b"\n"])
def test_a_key_is_read_as_bytes_hex_or_base64(text: bytes) -> None:
    assert rotate_keys.read_key(text, "here") == b"k" * 32


@pytest.mark.parametrize("text", [b"", b"k" * 31, b"k" * 33, b"6b" * 16, b"6b" * 33, b64encode(b"k" * 16), b"zz" * 32])
def test_what_is_no_aes_256_key_is_refused_without_being_shown(text: bytes) -> None:
    with pytest.raises(Unusable) as refused:
        rotate_keys.read_key(text, "here")
    assert str(refused.value) == "here: expected an AES-256 key, as 32 bytes, 64 hex digits or base64"


def test_a_job_does_not_show_its_keys() -> None:
    assert "AESGCM" not in repr(JOB)


def test_the_same_plaintext_is_never_encrypted_the_same_way_twice() -> None:
    assert len({rotate_keys.sealed(NEW, b"plain", None) for _ in range(100)}) == 100


def test_the_bar_tells_how_far_how_fast_and_how_long() -> None:
    progress = Progress(1000, io.StringIO())
    for number in range(250):
        progress.count(f"e{number}", Outcome.MOVED)
    assert progress.bar(5.0) == "[######------------------] 250/1,000  50/s  15 s left"
    assert Progress(0, io.StringIO()).bar(0.0) == "[------------------------] 0/1  0/s  no end in sight"


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
    assert lines[0] == "left behind e0: under legal hold"
    assert lines[-2] == "left behind 5 more"
    assert "under legal hold 105" in lines[-1]
