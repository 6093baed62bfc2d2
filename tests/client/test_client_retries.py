"""When a request is sent again: by its kind, by what happened, and within which bounds."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from vsqlvault.client import errors
from vsqlvault.client.requests import entries, rules, service
from vsqlvault.client.retries import HOST_NOT_FOUND, Attempts, Broken, Retries, retry_after
from vsqlvault.client.wire import Answer, Repeat, Request

LOST, UNSENT = Broken("ReadError", was_sent=True), Broken("ConnectError", was_sent=False)
OK = Answer(200, {}, b"{}")


def refused(status: int, slug: str | None = None, **headers: str) -> Answer:
    document = {"type": f"urn:vsqlvault:problem:{slug}"} if slug else {}
    return Answer(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(document).encode()
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def attempts(request: Request[Any], retries: Retries | None = None, clock: Clock | None = None) -> Attempts[Any]:
    return Attempts(request, retries or Retries(), clock=clock or Clock(), jitter=random.Random(1))


PUT = entries.put("card", "p1", b"value")
GET = entries.get("card", "p1")
DELETE = entries.delete("card", "p1")
SAFE = [
    entries.head("card", "p1"),
    entries.list_entries("card"),
    PUT,
    entries.put("card", "p1", b"value", if_match='"a.1"'),
    entries.delete("card", "p1", if_match='"a.1"'),
    entries.update("card", "p1", metadata={"a": 1}, ttl="1d"),
    entries.update("card", "p1", expires_at=None, if_match='"a.1"'),
    rules.put_access_policy("p", if_match='"1"'),
    rules.put_hold("h", case_reference="c", reason="r", create_only=True),
    rules.release_hold("h", if_match='"1"'),
    rules.explain("app", "retrieve", "card", "p1"),
    rules.put_retention_policy("card", max_retention_days=1, dry_run=True),
    service.revoke_key("k"),
    service.sweep(dry_run=True),
    service.report(),
]
UNSAFE = [
    GET,
    DELETE,
    entries.delete("card", "p1", if_match="*"),
    entries.update("card", "p1", expires_at=None),
    rules.put_access_policy("p"),
    rules.delete_access_policy("p"),
    rules.put_retention_policy("card", max_retention_days=1),
    rules.put_hold("h", case_reference="c", reason="r"),
    rules.release_hold("h"),
    service.create_key("app"),
    service.sweep(),
    service.attest(),
    service.review_access("all is needed"),
]


def name_of(request: Request[Any]) -> str:
    return f"{request.method} {request.path}"


@pytest.mark.parametrize("request_", SAFE, ids=name_of)
def test_a_request_that_changes_nothing_twice_is_repeated_after_a_lost_answer(request_: Request[Any]) -> None:
    assert attempts(request_).pause_after(LOST) is not None


@pytest.mark.parametrize("request_", UNSAFE, ids=name_of)
def test_a_request_that_would_do_it_twice_is_not_repeated_after_a_lost_answer(request_: Request[Any]) -> None:
    course = attempts(request_)
    assert course.pause_after(LOST) is None
    with pytest.raises(errors.ConnectionLost) as raised:
        course.result(LOST)
    assert raised.value.maybe_applied


@pytest.mark.parametrize("request_", [*SAFE, *UNSAFE], ids=name_of)
@pytest.mark.parametrize(
    "outcome",
    [UNSENT, refused(429, "rate-limited"), refused(429), refused(503, "overloaded"), refused(503, "audit-unavailable")],
    ids=["not sent", "429", "429 of a proxy", "overloaded", "audit-unavailable"],
)
def test_what_the_vault_did_not_begin_is_repeated_whatever_it_is(
    request_: Request[Any], outcome: Answer | Broken
) -> None:
    course = attempts(request_, Retries(max_attempts=2))
    assert course.pause_after(outcome) is not None
    assert course.pause_after(outcome) is None
    with pytest.raises(errors.TemporarilyUnavailable) as raised:
        course.result(outcome)
    assert not raised.value.maybe_applied


@pytest.mark.parametrize("outcome", [refused(503, "outcome-unknown"), refused(503), refused(502), refused(504)])
def test_an_answer_that_leaves_open_what_was_done_is_as_a_lost_one(outcome: Answer) -> None:
    assert attempts(PUT).pause_after(outcome) is not None
    course = attempts(DELETE)
    assert course.pause_after(outcome) is None
    with pytest.raises(errors.TemporarilyUnavailable) as raised:
        course.result(outcome)
    assert raised.value.maybe_applied


@pytest.mark.parametrize("slug", ["plugin-failure", "quarantined", "tree-damaged"])
def test_a_problem_that_needs_an_operator_is_not_repeated(slug: str) -> None:
    assert attempts(PUT).pause_after(refused(503, slug)) is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 412, 422, 423, 500, 507])
def test_a_refusal_is_not_repeated(status: int) -> None:
    assert attempts(PUT).pause_after(refused(status)) is None


def test_a_conflict_after_a_lost_answer_says_that_it_may_be_our_own_change() -> None:
    course = attempts(entries.put("card", "p1", b"value", if_match='"a.1"'))
    assert course.pause_after(LOST) is not None
    conflict = refused(412, "precondition-failed")
    assert course.pause_after(conflict) is None
    with pytest.raises(errors.PreconditionFailed) as raised:
        course.result(conflict)
    assert raised.value.maybe_applied


def test_a_read_is_never_called_maybe_applied() -> None:
    course = attempts(entries.head("card", "p1"), Retries(max_attempts=1))
    assert course.pause_after(LOST) is None
    with pytest.raises(errors.ConnectionLost) as raised:
        course.result(LOST)
    assert not raised.value.maybe_applied


def test_retrievals_are_repeated_where_the_client_is_set_to() -> None:
    retries = Retries(repeat_retrievals=True)
    assert attempts(GET, retries).pause_after(LOST) is not None
    assert attempts(DELETE, retries).pause_after(LOST) is None


def test_pauses_double_up_to_a_bound_and_vary_by_half() -> None:
    course = attempts(PUT, Retries(max_attempts=9, max_seconds=1e9, first_pause_seconds=1, max_pause_seconds=8))
    pauses = [course.pause_after(UNSENT) for _ in range(8)]
    for pause, longest in zip(pauses, (1, 2, 4, 8, 8, 8, 8, 8), strict=True):
        assert pause is not None
        assert longest / 2 <= pause <= longest
    assert len(set(pauses)) == len(pauses)


def test_retry_after_is_waited_for_in_full() -> None:
    pause = attempts(PUT).pause_after(refused(503, "overloaded", retry_after="7"))
    assert pause is not None
    assert 7 < pause <= 7.1


def test_no_pause_ends_later_than_the_bound() -> None:
    clock = Clock()
    course = attempts(PUT, Retries(max_seconds=10), clock)
    assert course.pause_after(refused(429, "rate-limited", retry_after="9")) is not None
    clock.now = 9.5
    waiting = refused(429, "rate-limited", retry_after="1")
    assert course.pause_after(waiting) is None
    with pytest.raises(errors.RateLimited) as raised:
        course.result(waiting)
    assert raised.value.retry_after_seconds == 1


@pytest.mark.parametrize("reason", ["ConnectError", "ConnectTimeout"])
def test_a_vault_that_has_not_answered_yet_is_tried_for_the_whole_time(reason: str) -> None:
    clock = Clock()
    course = Attempts(PUT, Retries(), clock=clock, has_answered=False, jitter=random.Random(1))
    clock.now = 20.0
    assert course.pause_after(Broken(reason, was_sent=False)) is not None
    clock.now = 30.0
    assert course.pause_after(Broken(reason, was_sent=False)) is None


@pytest.mark.parametrize(("has_answered", "is_tried"), [(False, False), (True, True)])
def test_a_host_name_that_does_not_resolve_is_given_up_early_at_first_contact(
    has_answered: bool, is_tried: bool
) -> None:
    clock = Clock()
    course = Attempts(PUT, Retries(), clock=clock, has_answered=has_answered, jitter=random.Random(1))
    unresolved = Broken(HOST_NOT_FOUND, was_sent=False)
    assert course.pause_after(unresolved) is not None
    clock.now = 2.0
    assert (course.pause_after(unresolved) is not None) is is_tried


def test_a_vault_that_never_answered_is_given_up_after_the_first_contact() -> None:
    clock = Clock()
    course = Attempts(PUT, Retries(first_contact_seconds=2), clock=clock, has_answered=False, jitter=random.Random(1))
    assert course.pause_after(UNSENT) is not None
    clock.now = 2.0
    assert course.pause_after(UNSENT) is None


@pytest.mark.parametrize("first", [refused(503, "overloaded"), LOST])
def test_a_vault_that_was_reached_in_this_call_is_tried_for_the_whole_time(first: Answer | Broken) -> None:
    clock = Clock()
    course = Attempts(PUT, Retries(first_contact_seconds=2), clock=clock, has_answered=False, jitter=random.Random(1))
    assert course.pause_after(first) is not None
    clock.now = 20.0
    assert course.pause_after(UNSENT) is not None


def test_attempts_are_bounded() -> None:
    course = attempts(PUT, Retries(max_attempts=3, max_seconds=1e9))
    assert [course.pause_after(UNSENT) is None for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "seconds"), [("3", 3), ("", 0), ("soon", 0), ("-1", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("٣", 0)]
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float) -> None:
    assert retry_after(Answer(503, {"retry-after": text}, b"")) == seconds


def test_retry_after_as_a_date_to_come_is_the_time_until_then() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3500 < retry_after(Answer(503, {"retry-after": at}, b"")) <= 3600


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_seconds": -1},
        {"first_pause_seconds": -1},
        {"first_contact_seconds": -1},
        {"unresolved_seconds": -1},
    ],
)
def test_bounds_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="retries"):
        Retries(**options)


def test_every_request_says_whether_it_can_be_repeated() -> None:
    assert {request.repeat for request in (*SAFE, *UNSAFE)} == set(Repeat)
