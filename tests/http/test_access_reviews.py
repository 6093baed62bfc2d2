"""``/admin/access-reviews`` over HTTP, on both storages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.checks import assert_problem
from tests.support.server import ADMIN, VaultServer

PATH = "/admin/access-reviews"
BODY: dict[str, Any] = {"statement": "all grants are needed", "purpose": "card", "interval_days": 90}


def test_a_review_can_be_made_read_and_listed(vault: VaultServer) -> None:
    answer = vault.call(ADMIN, "POST", PATH, json_body=BODY)
    assert answer.status == 201
    document = answer.json["access_review"]
    number = document["number"]
    assert answer.header("location") == f"{PATH}/{number}"
    assert vault.call("auditor", "GET", f"{PATH}/{number}").json == answer.json
    listed = vault.call("auditor", "GET", f"{PATH}?limit=1&before={number + 1}").json["access_reviews"]
    assert listed == [
        {
            "number": number,
            "at": document["at"],
            "purpose": "card",
            "due_at": document["due_at"],
            "signed": True,
            "sha256": answer.json["sha256"],
        }
    ]
    report = vault.call(ADMIN, "GET", "/compliance/report").json["access_review"]["figures"]["by_purpose"]["card"]
    assert report["review_number"] >= number
    assert (vault.row(answer)["operation"], vault.row(answer)["detail"]) == ("review-access", "card")


def test_a_review_that_is_not_there_is_404(vault: VaultServer) -> None:
    assert_problem(vault.call("auditor", "GET", f"{PATH}/99999"), 404, "access-review-not-found")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("statement", " "), ("statement", None), ("purpose", "no-such-purpose"), ("purpose", "UPPER"), ("interval_days", 0),
        ("interval_days", 367), ("may_sha256", "0" * 64), ("may_sha256", "short"), ("by", "me"),
    ],
)  # fmt: skip
def test_a_body_that_is_wrong_names_the_member(vault: VaultServer, member: str, value: Any) -> None:
    answer = vault.call(ADMIN, "POST", PATH, json_body={**BODY, member: value})
    assert answer.status == 422
    assert [each["field"] for each in answer.json["errors"]] == [member]
