"""``POST /admin/controls/{name}/acknowledgements`` over HTTP: what is refused, and that it is a row."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.checks import assert_problem
from tests.support.server import ADMIN, VaultServer

PATH = "/admin/controls/log_signed/acknowledgements"
BODY: dict[str, Any] = {"failed_at": "2020-01-01T00:00:00Z", "cause": "the disk was full", "remedy": "twice the space"}


@pytest.mark.parametrize("who", ["payments", "auditor"])
def test_only_an_admin_acknowledges_a_failure(vault: VaultServer, who: str) -> None:
    assert_problem(vault.call(who, "POST", PATH, json_body=BODY), 403, "role-required")


def test_a_failure_that_was_not_there_is_404_and_a_row(vault: VaultServer) -> None:
    answer = vault.call(ADMIN, "POST", PATH, json_body=BODY)
    assert_problem(answer, 404, "control-failure-not-found")
    assert vault.row(answer)["detail"] == "log_signed from 2020-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("member", "value"), [("failed_at", "yesterday"), ("cause", " "), ("remedy", ""), ("cause", None), ("by", "me")]
)
def test_a_body_that_is_wrong_names_the_member(vault: VaultServer, member: str, value: Any) -> None:
    answer = vault.call(ADMIN, "POST", PATH, json_body={**BODY, member: value})
    assert answer.status == 422
    assert [each["field"] for each in answer.json["errors"]] == [member]
