"""Request headers that decide something: once each, understood, and believed only where they may be."""

from __future__ import annotations

import socket

import pytest

from tests.support.checks import assert_problem, assert_refused, assert_standard_headers
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.wire import exchange, request_bytes

TWICE = [
    ("Content-Type", "application/json", "application/json"),
    ("Content-Type", "application/json", "text/plain"),
    ("If-Match", "*", "*"),
    ("If-None-Match", "*", '"x"'),
    ("Content-Encoding", "identity", "gzip"),
]


@pytest.mark.parametrize(("name", "one", "two"), TWICE)
def test_a_header_that_stands_twice_is_refused_with_a_row(vault: VaultServer, name: str, one: str, two: str) -> None:
    headers = [("Content-Type", "application/json")] if name != "Content-Type" else []
    key = ("X-Vault-Key", vault.key("payments"))
    raw = request_bytes(
        "PUT", "/vault/card/twice-1", headers=[key, *headers, (name, one), (name, two)], body=b'{"encrypted_value":"v"}'
    )
    answer = exchange(vault.address, raw)
    assert_refused(vault, answer, 400, "duplicate-header", "duplicate_header")


@pytest.mark.parametrize("second", ["payments", "billing", ADMIN, "expired"])
@pytest.mark.parametrize("name", ["X-Vault-Key", "x-vault-key"])
def test_two_keys_are_refused(vault: VaultServer, second: str, name: str) -> None:
    answer = vault.call("payments", "GET", "/vault/card/twice-2", headers=[(name, vault.key(second))])
    assert_problem(answer, 400, "duplicate-header")


def test_two_keys_leave_a_row(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", "/vault/card/twice-2", headers=[("X-Vault-Key", vault.key(ADMIN))])
    assert answer.status == 400
    rows = eventually(lambda: [row for row in vault.rows("reason=duplicate_header") if row["app"] is None], 3)
    assert (rows[0]["outcome"], rows[0]["status"]) == ("denied", 400)


def test_two_authorizations_are_refused(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", "/vault/card/x", headers=[("Authorization", "a"), ("Authorization", "b")])
    assert answer.status in {400, 401}


FAULTY_PRECONDITIONS = [
    ("If-Match", "abc"),
    ("If-Match", '"abc'),
    ("If-Match", '"a" "b"'),
    ("If-Match", ""),
    ("If-Match", ",".join(['"a"'] * 65)),
    ("If-Match", " , ,"),
    ("If-None-Match", '"abc'),
    ("If-None-Match", ""),
    ("If-None-Match", "**"),
]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
@pytest.mark.parametrize(("name", "value"), FAULTY_PRECONDITIONS)
def test_a_precondition_that_cannot_be_understood_is_refused_with_a_row(
    vault: VaultServer, method: str, name: str, value: str
) -> None:
    body = b'{"encrypted_value":"v"}' if method == "PUT" else None
    answer = vault.call("payments", method, "/vault/card/precondition-1", body=body, headers={name: value})
    assert_refused(vault, answer, 400, "invalid-header", "invalid_header")


class TestPreconditions:
    def test_create_only_refuses_what_exists(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/pre-1", MARKER)
        answer = vault.put("payments", "card/pre-1", "new", headers={"If-None-Match": "*"})
        assert_refused(vault, answer, 412, "precondition-failed", "precondition")

    def test_create_only_creates(self, vault: VaultServer) -> None:
        assert vault.put("payments", "card/pre-2", MARKER, headers={"If-None-Match": "*"}).status == 201

    def test_the_right_tag_replaces(self, vault: VaultServer) -> None:
        tag = vault.put("payments", "card/pre-3", MARKER).header("etag")
        assert vault.put("payments", "card/pre-3", "new", headers={"If-Match": str(tag)}).status == 200

    def test_an_old_tag_does_not_replace(self, vault: VaultServer) -> None:
        tag = vault.put("payments", "card/pre-4", MARKER).header("etag")
        vault.put("payments", "card/pre-4", "second")
        answer = vault.put("payments", "card/pre-4", "third", headers={"If-Match": str(tag)})
        assert_refused(vault, answer, 412, "precondition-failed", "precondition")

    def test_a_tag_of_a_purged_entry_does_not_match_its_successor(self, vault: VaultServer) -> None:
        tag = vault.put("payments", "card/pre-5", MARKER).header("etag")
        vault.delete("payments", "card/pre-5")
        vault.stored("payments", "card/pre-5", MARKER)
        answer = vault.put("payments", "card/pre-5", "new", headers={"If-Match": str(tag)})
        assert_problem(answer, 412, "precondition-failed")

    @pytest.mark.parametrize("form", ["W/{}", "{}x"])
    def test_a_weak_or_lengthened_tag_does_not_match(self, vault: VaultServer, form: str) -> None:
        tag = str(vault.put("payments", "card/pre-6", MARKER).header("etag"))
        given = form.format(tag) if form.startswith("W") else f'{tag[:-1]}x"'
        answer = vault.put("payments", "card/pre-6", "new", headers={"If-Match": given})
        assert_problem(answer, 412, "precondition-failed")

    def test_any_tag_needs_an_entry(self, vault: VaultServer) -> None:
        answer = vault.put("payments", "card/pre-7", "new", headers={"If-Match": "*"})
        assert_problem(answer, 412, "precondition-failed")

    def test_one_of_several_tags_is_enough(self, vault: VaultServer) -> None:
        tag = vault.put("payments", "card/pre-8", MARKER).header("etag")
        answer = vault.put("payments", "card/pre-8", "new", headers={"If-Match": f'"other", {tag}'})
        assert answer.status == 200

    @pytest.mark.parametrize("form", [", {}", '{} ,,"b"', '\t"a,b" ,\t{},', 'W/"w", {}'])
    def test_a_list_may_have_empty_members_and_commas_in_tags(self, vault: VaultServer, form: str) -> None:
        tag = str(vault.put("payments", "card/pre-11", MARKER).header("etag"))
        answer = vault.put("payments", "card/pre-11", form, headers={"If-Match": form.format(tag)})
        assert answer.status == 200, answer

    @pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}'])
    def test_put_only_where_the_version_is_another_one(self, vault: VaultServer, form: str) -> None:
        tag = str(vault.put("payments", "card/pre-12", MARKER).header("etag"))
        answer = vault.put("payments", "card/pre-12", "new", headers={"If-None-Match": form.format(tag)})
        assert_refused(vault, answer, 412, "precondition-failed", "precondition")
        assert vault.put("payments", "card/pre-12", "new", headers={"If-None-Match": '"other"'}).status == 200

    def test_an_old_tag_does_not_delete(self, vault: VaultServer) -> None:
        tag = vault.put("payments", "card/pre-9", MARKER).header("etag")
        vault.put("payments", "card/pre-9", "second")
        answer = vault.call("payments", "DELETE", "/vault/card/pre-9", headers={"If-Match": str(tag)})
        assert_refused(vault, answer, 412, "precondition-failed", "precondition")
        assert vault.get("payments", "card/pre-9").status == 200

    def test_a_precondition_tells_others_nothing(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/pre-10", MARKER)
        answer = vault.put("billing", "card/pre-10", "new", headers={"If-None-Match": "*"})
        assert_problem(answer, 403, "access-denied")


FORWARDING = [
    ("X-Forwarded-For", "10.9.8.7"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("Forwarded", "for=10.9.8.7;proto=https"),
    ("X-Real-IP", "10.9.8.7"),
    ("X-Client-Cert", "MIIB"),
    ("X-Forwarded-Client-Cert", "Hash=abc;URI=spiffe://corp/vault-admin"),
]


@pytest.mark.parametrize(("name", "value"), FORWARDING)
def test_a_forwarding_header_is_not_believed(vault: VaultServer, name: str, value: str) -> None:
    row = vault.row(vault.call("payments", "HEAD", "/vault/card/forwarded-1", headers={name: value}))
    assert row["client_address"] == "127.0.0.1"


@pytest.mark.parametrize(("name", "value"), FORWARDING)
def test_a_forwarding_header_is_on_record(vault: VaultServer, name: str, value: str) -> None:
    row = vault.row(vault.call("payments", "HEAD", "/vault/card/forwarded-1", headers={name: value}))
    assert row["untrusted_forwarding"] is True


def test_without_forwarding_header_none_is_on_record(vault: VaultServer) -> None:
    assert vault.row(vault.call("payments", "HEAD", "/vault/card/forwarded-1"))["untrusted_forwarding"] is False


@pytest.mark.parametrize(
    "name", ["X-Vault-Caller", "X-Vault-App", "X-Caller-Identity", "X-Vault-Identity", "X-Request-Id"]
)
def test_a_caller_cannot_say_who_it_is(vault: VaultServer, name: str) -> None:
    answer = vault.call("payments", "HEAD", "/vault/card/who-1", headers={name: ADMIN})
    row = vault.row(answer)
    assert (row["app"], row["identity"]) == ("payments", None)
    assert answer.request_id != ADMIN


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_a_method_is_not_overridden(vault: VaultServer, name: str) -> None:
    vault.stored("payments", f"card/override-{len(name)}", MARKER)
    vault.call("payments", "GET", f"/vault/card/override-{len(name)}", headers={name: "DELETE"})
    assert vault.get("payments", f"card/override-{len(name)}").status == 200


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL"])
def test_a_path_is_not_rewritten(vault: VaultServer, name: str) -> None:
    answer = vault.call("payments", "GET", "/health", headers={name: "/admin/access-log"})
    assert answer.json == {"status": "ok"}


ANSWERS = [
    (None, "GET", "/health", 200),
    (None, "GET", "/metrics", 200),
    ("payments", "GET", "/openapi.json", 200),
    ("payments", "GET", "/docs", 200),
    (None, "GET", "/vault/card/x", 401),
    ("payments", "GET", "/vault/card/none-such", 404),
    ("payments", "GET", "/vault/card", 200),
    ("payments", "HEAD", "/vault/card/none-such", 404),
    ("payments", "POST", "/vault/card/x", 405),
    ("payments", "GET", "/vault/ach/x", 403),
    ("auditor", "GET", "/admin/access-log?limit=1", 200),
    ("auditor", "GET", "/compliance/report", 200),
]


@pytest.mark.parametrize(("who", "method", "target", "status"), ANSWERS)
def test_every_answer_has_the_standard_headers(
    vault: VaultServer, who: str | None, method: str, target: str, status: int
) -> None:
    answer = vault.call(who, method, target)
    assert answer.status == status
    assert_standard_headers(answer)


def test_a_streamed_answer_has_the_standard_headers(vault: VaultServer) -> None:
    assert_standard_headers(vault.call("auditor", "GET", "/admin/access-log?limit=1", headers={"Accept": "text/csv"}))


def test_request_ids_are_never_given_twice(vault: VaultServer) -> None:
    assert len({vault.call(None, "GET", "/health").request_id for _ in range(50)}) == 50


class TestHead:
    def test_head_has_the_promised_headers_and_no_body(self, vault: VaultServer) -> None:
        stored = vault.put("payments", "card/head-1", MARKER, access_policy="same-purpose")
        answer = vault.call("payments", "HEAD", "/vault/card/head-1")
        assert answer.status == 200
        assert answer.body == b""
        assert answer.header("etag") == stored.header("etag")
        assert answer.header("x-vault-expires-at") == stored.json["expires_at"]
        assert answer.header("x-vault-created-at") == stored.json["created_at"]
        assert answer.header("x-vault-access-policy") == "same-purpose"

    @pytest.mark.parametrize(("who", "target"), [("payments", "card/none-such"), ("other", "card/x"), (None, "card/x")])
    def test_a_refused_head_has_no_body_on_the_wire(self, vault: VaultServer, who: str | None, target: str) -> None:
        key = [("X-Vault-Key", vault.key(who))] if who else []
        raw = request_bytes("HEAD", f"/vault/{target}", headers=key)
        with socket.create_connection(vault.address, timeout=5) as connection:
            connection.sendall(raw)
            received = b"".join(iter(lambda: connection.recv(65536), b""))
        assert received.partition(b"\r\n\r\n")[1:] == (b"\r\n\r\n", b"")

    def test_head_does_not_count_as_a_retrieval(self, vault: VaultServer) -> None:
        vault.access_policy("read-once", store={}, retrieve={"max_retrievals": 1}, purge={"allowed_apps": ["@owner"]})
        vault.stored("payments", "card/head-2", MARKER, access_policy="read-once")
        for _ in range(3):
            assert vault.call("payments", "HEAD", "/vault/card/head-2").status == 200
        assert vault.get("payments", "card/head-2").status == 200

    def test_head_is_on_record_as_an_inspection(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/head-3", MARKER)
        row = vault.row(vault.call("payments", "HEAD", "/vault/card/head-3"))
        assert (row["operation"], row["outcome"], row["status"]) == ("inspect", "granted", 200)

    def test_head_does_not_prolong_anything(self, vault: VaultServer) -> None:
        before = vault.stored("payments", "card/head-4", MARKER)
        vault.call("payments", "HEAD", "/vault/card/head-4")
        after = vault.get("payments", "card/head-4").json
        assert (after["expires_at"], after["updated_at"], after["version"]) == (
            before["expires_at"],
            before["updated_at"],
            1,
        )
