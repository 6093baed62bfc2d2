"""The logs over the wire: who may read, in which form, and that nothing in them runs in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.support.checks import assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer
from tests.support.wire import exchange

ACCESS = "/admin/access-log"
PURGE = "/admin/purge-log"

ACCEPTED = [
    (None, "application/json"),
    ("", "application/json"),
    ("*/*", "application/json"),
    ("application/*", "application/json"),
    ("application/json", "application/json"),
    ("APPLICATION/JSON", "application/json"),
    ("application/x-ndjson", "application/x-ndjson"),
    ("text/csv", "text/csv"),
    ("text/*", "text/csv"),
    ("text/html, text/csv;q=0.1", "text/csv"),
    ("text/csv;q=0.5, application/x-ndjson;q=0.9", "application/x-ndjson"),
    ("application/json;q=0, */*", "application/x-ndjson"),
    ("text/csv; charset=utf-8", "text/csv"),
]
NOT_ACCEPTED = ["text/html", "image/*", "application/json;q=0", "text/csv;q=0.0", "*/*;q=0", ";;,,", "csv"]


@pytest.mark.parametrize("target", [ACCESS, PURGE])
@pytest.mark.parametrize(("accept", "media_type"), ACCEPTED)
def test_a_log_comes_in_the_form_that_is_asked_for(
    vault: VaultServer, target: str, accept: str | None, media_type: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    answer = vault.call("auditor", "GET", f"{target}?limit=1", headers=headers)
    assert (answer.header("content-type") or "").partition(";")[0] == media_type


@pytest.mark.parametrize("target", [ACCESS, PURGE])
@pytest.mark.parametrize("accept", NOT_ACCEPTED)
def test_a_form_there_is_not_is_refused_with_a_row(vault: VaultServer, target: str, accept: str) -> None:
    answer = vault.call("auditor", "GET", target, headers={"Accept": accept})
    assert_refused(vault, answer, 406, "not-acceptable", "not_acceptable")


def test_the_three_forms_hold_the_same_rows(vault: VaultServer) -> None:
    vault.stored("payments", "card/forms", MARKER)
    for _ in range(5):
        vault.get("payments", "card/forms")
    target = f"{ACCESS}?order=asc&external_id=forms"
    page = vault.call("auditor", "GET", target).json["rows"]
    lines = vault.call("auditor", "GET", target, headers={"Accept": "application/x-ndjson"}).body.splitlines()
    sheet = vault.call("auditor", "GET", target, headers={"Accept": "text/csv"}).body.decode()
    assert [json.loads(line) for line in lines] == page
    assert [row["request_id"] for row in csv.DictReader(io.StringIO(sheet))] == [row["request_id"] for row in page]


def test_a_sheet_has_the_columns_of_a_row(vault: VaultServer) -> None:
    sheet = vault.call("auditor", "GET", f"{ACCESS}?limit=1", headers={"Accept": "text/csv"}).body.decode()
    page = vault.call("auditor", "GET", f"{ACCESS}?limit=1").json["rows"]
    assert next(csv.reader(io.StringIO(sheet))) == list(page[0])


def test_an_empty_sheet_has_its_columns(vault: VaultServer) -> None:
    answer = vault.call("auditor", "GET", f"{PURGE}?external_id=none-such", headers={"Accept": "text/csv"})
    assert len(answer.body.splitlines()) == 1


def test_a_stream_has_every_row_though_a_page_is_shorter(vault: VaultServer) -> None:
    vault.stored("payments", "card/streamed", MARKER)
    for _ in range(1100):
        vault.call("payments", "HEAD", "/vault/card/streamed")
    rows = vault.rows("external_id=streamed")
    assert len({row["request_id"] for row in rows}) == 1101


def test_a_stream_ends_where_its_limit_says(vault: VaultServer) -> None:
    answer = vault.call("auditor", "GET", f"{ACCESS}?limit=3", headers={"Accept": "application/x-ndjson"})
    assert len(answer.body.splitlines()) == 3


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_what_a_spreadsheet_would_run_is_made_harmless(vault: VaultServer, start: str) -> None:
    formula = f"{start}cmd|' /C calc'!A0"
    name = f"formula-{ord(start)}"
    vault.stored("payments", f"card/{name}", MARKER, key_ref=formula)
    vault.delete("payments", f"card/{name}")
    answer = vault.call("auditor", "GET", f"{PURGE}?external_id={name}", headers={"Accept": "text/csv"})
    (row,) = csv.DictReader(io.StringIO(answer.body.decode()))
    assert row["key_ref"] == f"'{formula}"


def test_quotes_commas_and_umlauts_survive_a_sheet(vault: VaultServer) -> None:
    name = "quotes"
    key_ref = 'a,"b";\u00fc\u20ac'
    vault.stored("payments", f"card/{name}", MARKER, key_ref=key_ref)
    vault.delete("payments", f"card/{name}")
    answer = vault.call("auditor", "GET", f"{PURGE}?external_id={name}", headers={"Accept": "text/csv"})
    (row,) = csv.DictReader(io.StringIO(answer.body.decode()))
    assert row["key_ref"] == key_ref


def test_json_has_what_a_spreadsheet_would_run_as_it_is(vault: VaultServer) -> None:
    vault.stored("payments", "card/formula-json", MARKER, key_ref="=1+1")
    vault.delete("payments", "card/formula-json")
    (row,) = vault.purge_rows("external_id=formula-json")
    assert row["key_ref"] == "=1+1"


@pytest.mark.parametrize(("target", "operation"), [(ACCESS, "read-access-log"), (PURGE, "read-purge-log")])
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_reading_a_log_is_on_record(vault: VaultServer, target: str, operation: str, accept: str) -> None:
    row = vault.row(vault.call("auditor", "GET", f"{target}?limit=1", headers={"Accept": accept}))
    assert (row["operation"], row["outcome"], row["app"]) == (operation, "granted", "auditor")


FILTERS = [
    "purpose=card", "external_id=filtered", "app=payments", "method=api-key", "operation=store", "outcome=granted",
    "status=201", "policy=owner-only", "client_address=127.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("query", FILTERS)
def test_a_filter_finds_only_what_it_says(vault: VaultServer, query: str) -> None:
    vault.put("payments", "card/filtered", MARKER)
    name, _, value = query.partition("=")
    rows = vault.rows(query)
    assert rows
    assert {str(row[name]) for row in rows} == {value}


def test_since_and_until_bound_the_log(vault: VaultServer) -> None:
    first = vault.row(vault.call("payments", "HEAD", "/vault/card/bounded"))
    middle = vault.row(vault.call("payments", "HEAD", "/vault/card/bounded"))
    vault.call("payments", "HEAD", "/vault/card/bounded")
    rows = vault.rows(f"external_id=bounded&since={first['at']}&until={middle['at']}")
    found = [row["request_id"] for row in rows]
    assert middle["request_id"] in found or first["request_id"] in found
    assert len(found) < 3


def test_a_change_of_policy_is_on_record_with_the_old_and_the_new(vault: VaultServer) -> None:
    vault.retention("changed", days=10, ttl=5)
    policy = {"max_retention_days": 20, "default_ttl_days": 5, "purge_method": "physical-delete"}
    row = vault.row(vault.call(ADMIN, "PUT", "/admin/retention-policies/changed", json_body=policy))
    assert (row["operation"], row["app"]) == ("change-retention-policy", ADMIN)
    assert json.loads(row["old_value"])["max_retention_days"] == 10
    assert json.loads(row["new_value"])["max_retention_days"] == 20


def test_a_filter_by_text_that_looks_like_sql_finds_nothing(vault: VaultServer) -> None:
    assert vault.rows("app=x'%20OR%20'1'='1") == []


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
def test_a_client_that_could_not_tell_a_broken_export_from_a_whole_one_is_given_none(
    vault: VaultServer, accept: str
) -> None:
    head = f"GET {ACCESS} HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n"
    sent = f"{head}{vault.api_key_header}: {vault.key('auditor')}\r\n\r\n".encode()
    assert_refused(vault, exchange(vault.address, sent), 406, "not-acceptable", "not_acceptable")
    assert exchange(vault.address, sent.replace(accept.encode(), b"application/json")).status == 200
