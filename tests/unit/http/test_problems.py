"""What of an error a caller reads."""

from __future__ import annotations

import json

from vsqlvault.errors import FieldError, Overloaded, StorageUnavailable, ValidationFailed
from vsqlvault.http.messages import Request
from vsqlvault.http.pages.replies import problem_page
from vsqlvault.http.problems import problem
from vsqlvault.http.server.state import no_body

ERROR = StorageUnavailable("nobody answers at 10.1.2.3:5432: is PostgreSQL running there?")


def test_the_address_of_a_storage_that_is_down_is_for_admins_alone() -> None:
    body = problem(ERROR, "id").body
    assert isinstance(body, bytes)
    assert b"10.1.2.3" not in body
    assert json.loads(body)["type"].endswith("storage-unavailable")


def test_an_admin_reads_it() -> None:
    body = problem(ERROR, "id", for_admin=True).body
    assert isinstance(body, bytes)
    assert "10.1.2.3" in json.loads(body)["detail"]


def test_other_details_are_for_everybody() -> None:
    body = problem(Overloaded("wait"), "id").body
    assert isinstance(body, bytes)
    assert json.loads(body)["detail"] == "wait"


def test_a_page_names_each_field_and_its_fault() -> None:
    faults = [FieldError("encrypted_value", "required"), FieldError("ttl", "a duration")]
    request = Request("GET", b"/x", b"", [], None, False, "0" * 32, no_body)
    page = problem_page(ValidationFailed(errors=faults), request).body
    assert isinstance(page, bytes)
    assert b"<li><code>encrypted_value</code> is required</li><li><code>ttl</code>: expected a duration</li>" in page
