"""A cursor shows nothing of what it holds, and is worth nothing to anybody else."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from vsqlvault.errors import InvalidQuery
from vsqlvault.http.cursors import Cursors

HIDDEN = "an-id-that-the-caller-may-not-inspect"
QUERY = {"key_ref": "k\u20ac", "limit": "10"}


@pytest.fixture
def cursors() -> Cursors:
    return Cursors(bytes(range(32)))


def opened(cursors: Cursors, cursor: str, app: str = "payments", route: str = "/vault/card", **query: str) -> Any:
    return cursors.open(app, route, {**query, "cursor": cursor})


def test_what_was_sealed_comes_back(cursors) -> None:
    cursor = cursors.seal("payments", "/vault/card", QUERY, [HIDDEN])
    assert opened(cursors, cursor) == (QUERY, [HIDDEN])
    assert opened(Cursors(bytes(range(32))), cursor, limit="5") == ({**QUERY, "limit": "5"}, [HIDDEN])


def test_an_id_that_the_caller_may_not_inspect_cannot_be_read_from_a_cursor(cursors) -> None:
    cursor = cursors.seal("payments", "/vault/card", QUERY, [HIDDEN])
    readable = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in cursor.split(".")]
    assert not any(HIDDEN[:6].encode() in part for part in (cursor.encode(), *readable))


def test_a_cursor_is_another_one_each_time(cursors) -> None:
    assert len({cursors.seal("payments", "/vault/card", QUERY, [HIDDEN]) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("app", "route"),
    [("billing", "/vault/card"), ("payments", "/vault/ach"), ("payments", "/vault"), ("payments/vault", "/card")],
)
def test_a_cursor_of_somebody_else_is_refused(cursors, app, route) -> None:
    with pytest.raises(InvalidQuery):
        opened(cursors, cursors.seal("payments", "/vault/card", QUERY, [HIDDEN]), app, route)


def test_a_cursor_of_another_storage_is_refused(cursors) -> None:
    with pytest.raises(InvalidQuery):
        opened(Cursors(bytes(32)), cursors.seal("payments", "/vault/card", QUERY, [HIDDEN]))


def test_a_cursor_with_a_key_in_it_is_refused(cursors) -> None:
    cursor = cursors.seal("payments", "/vault/card", QUERY, [HIDDEN])
    with pytest.raises(InvalidQuery):
        opened(cursors, cursor.replace("..", ".QUJD."))


def test_a_cursor_of_the_longest_filters_is_within_the_limit_of_a_target(cursors) -> None:
    query = {"key_ref": "\u20ac" * 512, "owner_app": "\u20ac" * 256, "access_policy": "p" * 128, "limit": "1000"}
    assert len(cursors.seal("a" * 256, "/vault/" + "p" * 64, query, ["i" * 256])) < 8192 - 512
