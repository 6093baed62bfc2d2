"""Identifiers in the path: a small grammar, nothing decoded, nothing merged, nothing redirected."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer

REFUSED_TARGETS = {
    "dot-dot as id": b"/vault/card/..",
    "dot as id": b"/vault/card/.",
    "dot-dot inside": b"/vault/card/../../admin/access-log",
    "dot-dot first": b"/../admin/access-log",
    "dot first": b"/./health",
    "encoded dots": b"/vault/card/%2e%2e",
    "encoded slash": b"/vault/card/a%2fb",
    "encoded backslash": b"/vault/card/a%5cb",
    "encoded nul": b"/vault/card/a%00",
    "encoded newline": b"/vault/card/a%0a",
    "encoded CR LF": b"/vault/card/a%0d%0aX-Evil:1",
    "double encoding": b"/vault/card/%252e%252e",
    "overlong slash": b"/vault/card/%c0%af",
    "not UTF-8 ff": b"/vault/card/%ff",
    "not UTF-8 fe": b"/vault/card/%fe",
    "encoded letter of a route": b"/%61dmin/access-log",
    "encoded letter of an id": b"/vault/card/%61",
    "a bare percent": b"/vault/card/100%",
    "double slash": b"/vault//card/a",
    "double slash first": b"//vault/card/a",
    "trailing slash": b"/vault/card/a/",
    "trailing slash of a list": b"/vault/card/",
    "trailing slash of a route": b"/admin/access-log/",
    "path parameter": b"/vault/card/a;v=1",
    "backslash": b"/vault/card/a\\b",
    "257 characters": b"/vault/card/" + b"a" * 257,
    "purpose of 65 characters": b"/vault/" + b"a" * 65 + b"/x",
    "purpose in upper case": b"/vault/Card/x",
    "purpose with a dot": b"/vault/c.ard/x",
    "id that begins with a dash": b"/vault/card/-x",
    "id that begins with a dot": b"/vault/card/.htaccess",
    "id that begins with an underscore": b"/vault/card/__proto__",
    "template braces": b"/vault/card/{{7*7}}",
    "dollar braces": b"/vault/card/${jndi:ldap}",
    "quotes": b"/vault/card/'or'1'='1",
    "asterisk": b"/vault/card/*",
    "comma": b"/vault/card/a,b",
    "plus": b"/vault/card/a+b",
}


NON_ASCII_TARGETS = {
    "raw UTF-8": "/vault/card/caf\u00e9".encode(),
    "NFD": "/vault/card/cafe\u0301".encode(),
    "cyrillic a": "/vault/card/p\u0430y".encode(),
    "full-width digits": "/vault/card/\uff11\uff12".encode(),
    "emoji": "/vault/card/\U0001f600".encode(),
    "right-to-left override": "/vault/card/a\u202eb".encode(),
    "latin-1 bytes": b"/vault/card/\xff\xfe",
}


@pytest.mark.parametrize("target", NON_ASCII_TARGETS.values(), ids=NON_ASCII_TARGETS.keys())
def test_a_path_that_is_not_ascii_is_refused(vault: VaultServer, target: bytes) -> None:
    assert vault.call("payments", "GET", target).status == 400


@pytest.mark.parametrize("target", REFUSED_TARGETS.values(), ids=REFUSED_TARGETS.keys())
def test_a_path_outside_the_grammar_is_refused_with_a_row(vault: VaultServer, target: bytes) -> None:
    answer = vault.call("payments", "GET", target)
    assert_refused(vault, answer, 400, "invalid-path", "invalid_path")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_a_path_outside_the_grammar_is_refused_whatever_the_method(vault: VaultServer, method: str) -> None:
    answer = vault.call("payments", method, b"/vault/card/%41")
    assert_refused(vault, answer, 400, "invalid-path", "invalid_path")


def test_a_policy_name_outside_the_grammar_is_refused(vault: VaultServer) -> None:
    answer = vault.call("vault-admin", "PUT", "/admin/access-policies/Upper", json_body={"rules": {}})
    assert_refused(vault, answer, 400, "invalid-path", "invalid_path")


def test_a_malformed_path_is_reported_without_a_credential(vault: VaultServer) -> None:
    assert_problem(vault.call(None, "GET", b"/vault/card/%00"), 400, "invalid-path")


def test_the_row_of_a_refused_path_has_its_hash_its_length_and_its_beginning_in_ascii(vault: VaultServer) -> None:
    target = b"/vault/card/%0d%0a" + b"z" * 300
    row = vault.row(vault.call("payments", "GET", target))
    assert f"sha256:{hashlib.sha256(target).hexdigest()} length:{len(target)} begins:" in row["detail"]
    begins = row["detail"].partition("begins:")[2]
    assert begins.isascii()
    assert begins.isprintable()
    assert len(begins) <= 64


def test_the_row_of_a_refused_path_hides_a_card_number(vault: VaultServer) -> None:
    row = vault.row(vault.call("payments", "GET", b"/vault/card/%4111111111111111"))
    assert "4111111111111111" not in str(row)


def test_a_refused_path_names_no_entry_in_its_row(vault: VaultServer) -> None:
    row = vault.row(vault.call("payments", "GET", b"/vault/card/%ff"))
    assert (row["purpose"], row["external_id"]) == (None, None)


def test_a_target_beyond_8_kib_is_too_long(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", "/vault/card/" + "a" * 8200)
    assert_refused(vault, answer, 414, "uri-too-long", "invalid_path")


def test_a_query_beyond_8_kib_is_too_long(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", "/vault/card?key_ref=" + "a" * 8200)
    assert_refused(vault, answer, 414, "uri-too-long", "invalid_path")


TAKEN_IDS = {
    "one character": "a",
    "256 characters": "z" * 256,
    "admin": "admin",
    "sweep": "sweep",
    "health": "health",
    "metrics": "metrics",
    "a Windows device": "CON",
    "another Windows device": "aux.txt",
    "null": "null",
    "zero": "0",
    "a leading zero": "007",
    "true": "true",
    "a number beyond 64 bits": "99999999999999999999999999",
    "SQL words": "x--drop-table-entries",
    "all punctuation": "a._:@~-z",
    "ends with a dot": "x.",
    "constructor": "constructor",
}


@pytest.mark.parametrize("external_id", TAKEN_IDS.values(), ids=TAKEN_IDS.keys())
def test_an_id_within_the_grammar_is_opaque(vault: VaultServer, external_id: str) -> None:
    vault.stored("payments", f"card/{external_id}", MARKER)
    assert vault.get("payments", f"card/{external_id}").json["external_id"] == external_id


@pytest.mark.parametrize(("one", "two"), [("Case-1", "case-1"), ("pad", "pad."), ("01", "1")])
def test_ids_that_look_alike_are_two_entries(vault: VaultServer, one: str, two: str) -> None:
    vault.stored("payments", f"card/{one}", f"{MARKER}-{one}")
    vault.stored("payments", f"card/{two}", f"{MARKER}-{two}")
    assert vault.get("payments", f"card/{one}").json["encrypted_value"] == f"{MARKER}-{one}"


def test_an_unknown_route_is_not_found_with_a_row(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", "/vault/card/a/b/c")
    assert_refused(vault, answer, 404, "no-such-route", "no_such_route")


def test_an_unknown_route_is_not_reported_without_a_credential(vault: VaultServer) -> None:
    assert_problem(vault.call(None, "GET", "/vault/card/a/b/c"), 401, "unauthenticated")


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "TRACE", "BREW"])
def test_a_method_that_a_route_lacks_is_refused_with_a_row(vault: VaultServer, method: str) -> None:
    answer = vault.call("payments", method, "/vault/card/method-1")
    assert_refused(vault, answer, 405, "method-not-allowed", "method")


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "TRACE", "BREW"])
def test_a_refused_method_is_answered_with_those_that_there_are(vault: VaultServer, method: str) -> None:
    answer = vault.call("payments", method, "/vault/card/method-1")
    assert {name.strip() for name in (answer.header("allow") or "").split(",")} == {
        "PUT",
        "PATCH",
        "GET",
        "HEAD",
        "DELETE",
    }


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "BREW"])
def test_every_route_tells_the_methods_that_it_takes(vault: VaultServer, method: str) -> None:
    paths = vault.call(ADMIN, "GET", "/openapi.json").json["paths"]
    for path, operations in paths.items():
        answer = vault.call("payments", method, path.replace("{", "").replace("}", ""))
        assert_problem(answer, 405, "method-not-allowed")
        told = [name.strip() for name in (answer.header("allow") or "").split(",")]
        assert sorted(told) == sorted(name.upper() for name in operations)


def test_a_websocket_upgrade_gets_no_websocket(vault: VaultServer) -> None:
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert vault.call("payments", "GET", "/vault/card/a", headers=headers).status == 403
