"""Query strings and cursors."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer

REFUSED_QUERIES = {
    "unknown member": "/vault/card?colour=red",
    "unknown member where none is known": "/vault/card/q-1?colour=red",
    "a member twice": "/vault/card?limit=1&limit=2",
    "a member without name": "/vault/card?=1",
    "an empty member": "/vault/card?limit=1&",
    "not UTF-8": "/vault/card?key_ref=%ff",
    "a control": "/vault/card?key_ref=a%00b",
    "a newline": "/vault/card?key_ref=a%0ab",
    "a bidirectional override": "/vault/card?key_ref=a%E2%80%AEb",
    "limit 0": "/vault/card?limit=0",
    "limit -1": "/vault/card?limit=-1",
    "limit +1": "/vault/card?limit=+1",
    "limit 1001": "/vault/card?limit=1001",
    "limit 1e9": "/vault/card?limit=1e9",
    "limit huge": "/vault/card?limit=99999999999999999999",
    "limit in arabic digits": "/vault/card?limit=%D9%A3",
    "limit in hexadecimal": "/vault/card?limit=0x10",
    "limit with an underscore": "/vault/card?limit=1_0",
    "limit empty": "/vault/card?limit=",
    "limit without value": "/vault/card?limit",
    "offset": "/vault/card?offset=10",
    "unknown state": "/vault/card?state=gone",
    "a time without zone": "/vault/card?expires_before=2027-01-01T00:00:00",
    "a time that is a number": "/vault/card?expires_before=1739664000",
    "a key_ref beyond its length": "/vault/card?key_ref=" + "k" * 600,
}
REFUSED_ADMIN_QUERIES = {
    "dry_run=1": ("POST", "/admin/purge/sweep?dry_run=1"),
    "dry_run=True": ("POST", "/admin/purge/sweep?dry_run=True"),
    "dryrun": ("POST", "/admin/purge/sweep?dryrun=true"),
    "since that is no time": ("GET", "/admin/access-log?since=yesterday"),
    "until that is no time": ("GET", "/admin/purge-log?until=2027"),
    "an order there is not": ("GET", "/admin/access-log?order=random"),
    "an outcome there is not": ("GET", "/admin/access-log?outcome=maybe"),
    "a status that is no number": ("GET", "/admin/access-log?status=ok"),
    "a filter of the other log": ("GET", "/admin/access-log?key_ref=k"),
    "as_of in the future": ("GET", "/compliance/report?as_of=2999-01-01T00:00:00Z"),
    "as_of without zone": ("GET", "/compliance/report?as_of=2026-01-01T00:00:00"),
    "key_refs beyond a page": ("GET", "/admin/key-refs?limit=1001"),
    "a filter that key_refs have not": ("GET", "/admin/key-refs?state=active"),
    "a cursor for key_refs that is none": ("GET", "/admin/key-refs?cursor=abc"),
    "an operation there is not": ("GET", "/admin/access-log?operation=retreive"),
    "a reason of purges there is not": ("GET", "/admin/purge-log?reason=expierd"),
    "until before since": ("GET", "/admin/access-log?since=2027-01-02T00:00:00Z&until=2027-01-01T00:00:00Z"),
    "until before since of purges": ("GET", "/admin/purge-log?since=2027-01-02T00:00:00Z&until=2027-01-01T00:00:00Z"),
    "a query for a policy": ("GET", "/admin/access-policies?name=x"),
}


@pytest.mark.parametrize("target", REFUSED_QUERIES.values(), ids=REFUSED_QUERIES.keys())
def test_a_query_that_a_route_does_not_know_is_refused_with_a_row(vault: VaultServer, target: str) -> None:
    assert_refused(vault, vault.call("payments", "GET", target), 422, "invalid-query", "invalid_query")


@pytest.mark.parametrize(("method", "target"), REFUSED_ADMIN_QUERIES.values(), ids=REFUSED_ADMIN_QUERIES.keys())
def test_a_query_that_an_admin_route_does_not_know_is_refused_with_a_row(
    vault: VaultServer, method: str, target: str
) -> None:
    assert_refused(vault, vault.call(ADMIN, method, target), 422, "invalid-query", "invalid_query")


def test_a_sweep_that_is_asked_for_wrongly_does_not_run(vault: VaultServer) -> None:
    before = len(vault.rows("operation=sweep&outcome=granted"))
    vault.call(ADMIN, "POST", "/admin/purge/sweep?dry-run=true")
    assert len(vault.rows("operation=sweep&outcome=granted")) == before


@pytest.mark.parametrize("target", ["/health?x=1", "/metrics?x=1"])
def test_an_open_route_does_not_take_an_unknown_query(vault: VaultServer, target: str) -> None:
    assert_problem(vault.call("payments", "GET", target), 422, "invalid-query")


EARLY_AND_LATE = [
    ("payments", "/vault/card?expires_before=0001-01-01T00:00:00Z"),
    ("payments", "/vault/card?expires_before=9999-12-31T23:59:59Z"),
    ("auditor", "/compliance/report?as_of=0001-01-01T00:00:00Z"),
    ("auditor", "/compliance/report?as_of=1970-01-01T00:00:00Z"),
    ("auditor", "/admin/access-log?until=0001-01-01T00:00:00Z"),
    ("auditor", "/admin/access-log?since=9999-12-31T23:59:59Z"),
    ("auditor", "/admin/purge-log?until=0001-01-01T00:00:00Z"),
    ("auditor", "/admin/purge-log?since=9999-12-31T23:59:59.999999Z"),
]


@pytest.mark.parametrize(("who", "target"), EARLY_AND_LATE)
def test_the_first_and_the_last_instant_are_times_like_others(vault: VaultServer, who: str, target: str) -> None:
    assert vault.call(who, "GET", target).status == 200


CREDENTIAL_MEMBERS = [
    "api_key",
    "X-Vault-Key",
    "x-vault-key",
    "token",
    "access_token",
    "apikey",
    "Authorization",
    "key",
]


@pytest.mark.parametrize("member", CREDENTIAL_MEMBERS)
def test_a_credential_in_the_query_is_refused_with_a_row(vault: VaultServer, member: str) -> None:
    answer = vault.call("payments", "GET", f"/vault/card/q-1?{member}={vault.key('payments')}")
    assert_refused(vault, answer, 400, "credential-in-url", "credential_in_url")


def test_a_credential_in_the_query_never_authenticates(vault: VaultServer) -> None:
    vault.stored("payments", "card/in-url", MARKER)
    answer = vault.call(None, "GET", f"/vault/card/in-url?api_key={vault.key('payments')}")
    assert_problem(answer, 400, "credential-in-url")


def test_a_credential_in_the_query_of_an_open_route_is_refused(vault: VaultServer) -> None:
    assert_problem(vault.call(None, "GET", f"/health?api_key={vault.key('payments')}"), 400, "credential-in-url")


def test_a_credential_in_the_query_with_an_encoded_name_is_refused(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", f"/vault/card/q-1?api%5Fkey={vault.key('payments')}")
    assert_problem(answer, 400, "credential-in-url")


def test_a_credential_in_the_query_is_in_no_row(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", f"/vault/card/q-1?api_key={vault.key('payments')}")
    assert vault.key("payments") not in json.dumps(vault.row(answer))


def digest_id(server: VaultServer, who: str) -> str:
    return f"sha256:{hashlib.sha256(server.key(who).encode()).hexdigest()[:12]}"


@pytest.mark.parametrize("who", ["payments", "expired"])
@pytest.mark.parametrize("member", ["api_key", "key", "X-Vault-Key", "api%5Fkey"])
def test_a_known_key_in_the_query_is_on_record_by_its_id(
    another_vault: Callable[..., VaultServer], who: str, member: str
) -> None:
    server = another_vault()
    assert_problem(server.call(None, "GET", f"/vault/card/a?{member}={server.key(who)}"), 400, "credential-in-url")
    (row,) = server.rows("reason=credential_in_url")
    assert (row["credential_id"], row["app"]) == (digest_id(server, who), None)
    assert server.key(who) not in json.dumps(row)


def test_a_known_key_in_the_query_is_reported_beside_the_one_in_the_header(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", f"/vault/card/q-1?a=1&token=x&api_key={vault.key('billing')}")
    row = assert_refused(vault, answer, 400, "credential-in-url", "credential_in_url")
    assert row["credential_id"] == digest_id(vault, "payments")
    assert row["detail"] == f"in the URL: {digest_id(vault, 'billing')}"
    assert vault.key("billing") not in json.dumps(row)


def test_what_is_no_key_has_no_id(another_vault: Callable[..., VaultServer]) -> None:
    server = another_vault()
    for text in ("guess", "", "%C3%A9", "a%00b", "%ff"):
        assert_problem(server.call(None, "GET", f"/vault/card/a?api_key={text}"), 400, "credential-in-url")
    assert {row["credential_id"] for row in server.rows("reason=credential_in_url")} == {None}


def test_the_configured_key_header_is_refused_in_the_query_too(another_vault: type[VaultServer]) -> None:
    server = another_vault(api_key_header="X-Corp-Secret")
    answer = server.call("payments", "GET", f"/vault/card/q-1?x-corp-secret={server.key('payments')}")
    assert_problem(answer, 400, "credential-in-url")


@pytest.fixture(scope="module")
def three_entries(vault: VaultServer) -> None:
    for number in range(3):
        vault.stored("archive", f"aged/page-{number}", MARKER, key_ref="pages")


@pytest.mark.usefixtures("three_entries")
class TestCursors:
    def cursor(self, vault: VaultServer, who: str = "archive", target: str = "/vault/aged?limit=1") -> str:
        cursor = vault.call(who, "GET", target).json["next_cursor"]
        assert isinstance(cursor, str)
        return cursor

    def test_a_cursor_goes_on_where_the_page_ended(self, vault: VaultServer) -> None:
        seen, target = [], "/vault/aged?limit=1&key_ref=pages"
        while target:
            page = vault.call("archive", "GET", target).json
            seen += [entry["external_id"] for entry in page["entries"]]
            target = f"/vault/aged?limit=1&cursor={page['next_cursor']}" if page["next_cursor"] else ""
        assert seen == ["page-0", "page-1", "page-2"]

    def test_a_cursor_carries_its_filters(self, vault: VaultServer) -> None:
        cursor = self.cursor(vault, target="/vault/aged?limit=1&key_ref=pages")
        vault.stored("archive", "aged/page-1-other-key", MARKER, key_ref="else")
        page = vault.call("archive", "GET", f"/vault/aged?limit=1000&cursor={cursor}").json
        assert {entry["key_ref"] for entry in page["entries"]} == {"pages"}

    def test_a_cursor_with_another_filter_is_refused(self, vault: VaultServer) -> None:
        cursor = self.cursor(vault, target="/vault/aged?limit=1&key_ref=pages")
        answer = vault.call("archive", "GET", f"/vault/aged?cursor={cursor}&key_ref=else")
        assert_refused(vault, answer, 422, "invalid-query", "invalid_query")

    def test_another_callers_cursor_is_refused(self, vault: VaultServer) -> None:
        answer = vault.call(ADMIN, "GET", f"/vault/aged?cursor={self.cursor(vault)}")
        assert_refused(vault, answer, 422, "invalid-query", "invalid_query")

    def test_another_purposes_cursor_is_refused(self, vault: VaultServer) -> None:
        answer = vault.call("archive", "GET", f"/vault/cold?cursor={self.cursor(vault)}")
        assert_refused(vault, answer, 422, "invalid-query", "invalid_query")

    def test_a_cursor_of_one_log_is_refused_by_the_other(self, vault: VaultServer) -> None:
        cursor = self.cursor(vault, "auditor", "/admin/access-log?limit=1")
        answer = vault.call("auditor", "GET", f"/admin/purge-log?cursor={cursor}")
        assert_refused(vault, answer, 422, "invalid-query", "invalid_query")

    def test_an_entry_cursor_is_refused_by_a_log(self, vault: VaultServer) -> None:
        answer = vault.call(ADMIN, "GET", f"/admin/access-log?cursor={self.cursor(vault, ADMIN)}")
        assert_refused(vault, answer, 422, "invalid-query", "invalid_query")

    @pytest.mark.parametrize("kept", [0, 1, 2, 15, 21, 22, 23, -1, -2, -4])
    def test_a_truncated_cursor_is_refused(self, vault: VaultServer, kept: int) -> None:
        answer = vault.call("archive", "GET", f"/vault/aged?cursor={self.cursor(vault)[:kept]}")
        assert_refused(vault, answer, 422, "invalid-query", "invalid_query")

    def test_a_cursor_with_any_character_changed_is_refused(self, vault: VaultServer) -> None:
        cursor = self.cursor(vault)
        for place, found in enumerate(cursor[:-1]):
            forged = f"{cursor[:place]}{'A' if found != 'A' else 'B'}{cursor[place + 1 :]}"
            assert_problem(vault.call("archive", "GET", f"/vault/aged?cursor={forged}"), 422, "invalid-query")

    def test_a_cursor_cannot_be_read(self, vault: VaultServer) -> None:
        cursor = self.cursor(vault, target="/vault/aged?limit=1&key_ref=pages")
        for part in cursor.split("."):
            assert b"page" not in base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    @pytest.mark.parametrize(
        "forged",
        [
            "x",
            "!!!!",
            "....",
            "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0....",
            "eyJhbGciOiJub25lIn0.W3t9LFsiYSJdXQ.",
            "eyJhbGciOiJQQkVTMi1IUzI1NitBMTI4S1ciLCJlbmMiOiJBMjU2R0NNIiwicDJjIjoxMDAwMDAwMDB9.YQ.YQ.YQ.YQ",
            base64.urlsafe_b64encode(bytes(16) + b'[{},["a"]]').decode().rstrip("="),
            "%D9%A3",
            "A" * 500,
        ],
    )
    def test_a_made_up_cursor_is_refused(self, vault: VaultServer, forged: str) -> None:
        answer = vault.call("archive", "GET", f"/vault/aged?cursor={forged}")
        assert_refused(vault, answer, 422, "invalid-query", "invalid_query")

    def test_the_cursor_of_the_longest_filters_and_ids_is_taken_back(self, vault: VaultServer) -> None:
        key_ref = "k" * 256
        for number in range(2):
            vault.stored("archive", f"cold/{number}{'i' * 255}", MARKER, key_ref=key_ref)
        cursor = self.cursor(vault, target=f"/vault/cold?limit=1&key_ref={key_ref}")
        page = vault.call("archive", "GET", f"/vault/cold?limit=1&cursor={cursor}")
        assert page.status == 200, page

    def test_the_access_log_pages_without_gap_or_repeat(self, vault: VaultServer) -> None:
        entry = "card/paged-log"
        vault.stored("payments", entry, MARKER)
        for _ in range(7):
            vault.get("payments", entry)
        filters = "purpose=card&external_id=paged-log"
        seen, target = [], f"/admin/access-log?limit=3&{filters}"
        while target:
            page = vault.call("auditor", "GET", target).json
            seen += [row["request_id"] for row in page["rows"]]
            cursor = page["next_cursor"]
            target = f"/admin/access-log?limit=3&cursor={cursor}" if cursor else ""
        assert seen == [row["request_id"] for row in vault.rows(filters)][::-1]
        assert len(set(seen)) == 8
