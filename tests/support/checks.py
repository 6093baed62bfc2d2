"""What every answer has, and what every refusal leaves."""

from __future__ import annotations

import re
from typing import Any

from tests.support.server import VaultServer
from tests.support.wire import PROBLEM, Answer

REQUEST_ID = re.compile(r"[0-9a-f]{32}")


def assert_standard_headers(answer: Answer) -> None:
    assert answer.header("cache-control") == "no-store"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("server") is None
    assert REQUEST_ID.fullmatch(answer.request_id)


def assert_problem(answer: Answer, status: int, slug: str) -> None:
    """The answer is this problem, in the shape of every problem."""
    assert (answer.status, answer.slug) == (status, slug), answer
    document = answer.json
    assert set(document) <= {"type", "title", "status", "detail", "request_id", "errors"}
    assert document["type"] == PROBLEM + slug
    assert document["status"] == status
    assert isinstance(document["title"], str)
    assert document["title"]
    assert document["request_id"] == answer.request_id
    for fault in document.get("errors", ()):
        assert set(fault) == {"field", "expected"}
    assert_standard_headers(answer)


def assert_refused(vault: VaultServer, answer: Answer, status: int, slug: str, reason: str) -> dict[str, Any]:
    """The answer is this problem, and the row of the refusal is there; return the row."""
    assert_problem(answer, status, slug)
    row = vault.row(answer)
    assert (row["outcome"], row["status"], row["reason"]) == ("denied", status, reason), row
    return row
