"""Bodies: one media type, one reading of JSON, nothing left to interpretation, and nothing stored of what is refused."""

from __future__ import annotations

import base64
import gzip
import json
import time
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer
from tests.support.wire import exchange, request_bytes
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.http.routing import Router

GOOD = json.dumps({"encrypted_value": MARKER}).encode()
LIMIT = 65536
BODY_LIMIT = 131072


def put(vault: VaultServer, external_id: str, body: bytes, headers: dict[str, str] | None = None) -> Any:
    return vault.call("payments", "PUT", f"/vault/card/{external_id}", body=body, headers=headers or {})


def in_value(text: str) -> bytes:
    return b'{"encrypted_value":"' + text.encode() + b'"}'


def in_metadata(text: str) -> bytes:
    return b'{"encrypted_value":"v","metadata":' + text.encode() + b"}"


REFUSED_MEDIA = {
    "no content type": [],
    "an empty one": [("Content-Type", "")],
    "text/plain": [("Content-Type", "text/plain")],
    "a form": [("Content-Type", "application/x-www-form-urlencoded")],
    "multipart": [("Content-Type", "multipart/form-data; boundary=x")],
    "application/json5": [("Content-Type", "application/json5")],
    "a suffix": [("Content-Type", "application/vnd.x+json")],
    "two in one": [("Content-Type", "application/json, text/plain")],
    "charset latin-1": [("Content-Type", "application/json; charset=iso-8859-1")],
    "charset utf-16": [("Content-Type", "application/json; charset=utf-16")],
    "charset utf-7": [("Content-Type", "application/json; charset=utf-7")],
    "a parameter without a value": [("Content-Type", "application/json; charset")],
    "a quote that is not closed": [("Content-Type", 'application/json; a="b')],
    "UTF-8 and another charset": [("Content-Type", "application/json; charset=utf-8; charset=utf-16")],
}


@pytest.mark.parametrize("headers", REFUSED_MEDIA.values(), ids=REFUSED_MEDIA.keys())
def test_another_media_type_is_refused_with_a_row(vault: VaultServer, headers: list[tuple[str, str]]) -> None:
    key = ("X-Vault-Key", vault.key("payments"))
    raw = request_bytes("PUT", "/vault/card/media-1", headers=[key, *headers], body=GOOD)
    answer = exchange(vault.address, raw)
    assert_refused(vault, answer, 415, "unsupported-media-type", "media_type")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; foo=bar",
        'application/json; a="b; c"; charset=UTF-8;',
    ],
)
def test_json_in_utf_8_is_taken_however_it_is_said(vault: VaultServer, media_type: str) -> None:
    assert put(vault, "media-2", GOOD, {"Content-Type": media_type}).status in {200, 201}


BOMB = gzip.compress(bytes(50_000_000))
ENCODED = {
    "gzip": ("gzip", gzip.compress(GOOD)),
    "deflate": ("deflate", zlib.compress(GOOD)),
    "br": ("br", b"\x0b\x02\x80{}\x03"),
    "zstd": ("zstd", b"\x28\xb5\x2f\xfd"),
    "a bomb": ("gzip", BOMB),
    "twice": ("gzip, gzip", gzip.compress(gzip.compress(GOOD))),
    "plain text that claims gzip": ("gzip", GOOD),
}


@pytest.mark.parametrize(("coding", "body"), ENCODED.values(), ids=ENCODED.keys())
def test_a_compressed_body_is_refused_with_a_row(vault: VaultServer, coding: str, body: bytes) -> None:
    answer = put(vault, "encoded-1", body, {"Content-Encoding": coding})
    assert_refused(vault, answer, 415, "content-encoding", "content_encoding")


NOT_JSON = {
    "nothing": b"",
    "blanks": b"  \n",
    "not UTF-8": b'{"encrypted_value":"\xff"}',
    "overlong UTF-8": b'{"encrypted_value":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"encrypted_value":"\xed\xa0\x80"}',
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "gzip bytes": gzip.compress(GOOD),
    "cut short": GOOD[:-1],
    "more behind it": GOOD + b"{}",
    "a trailing comma": b'{"encrypted_value":"v",}',
    "a comment": b'{"encrypted_value":"v"/*x*/}',
    "single quotes": b"{'encrypted_value':'v'}",
    "a form": b"encrypted_value=v",
    "a raw newline in a text": b'{"encrypted_value":"a\nb"}',
    "a raw NUL in a text": b'{"encrypted_value":"a\x00b"}',
    "a bad escape": b'{"encrypted_value":"\\x41"}',
    "NaN": in_metadata('{"a":NaN}'),
    "Infinity": in_metadata('{"a":Infinity}'),
    "-Infinity": in_metadata('{"a":-Infinity}'),
    "1e999": in_metadata('{"a":1e999}'),
    "-1e999": in_metadata('{"a":-1e999}'),
    "5000 digits": in_metadata('{"a":' + "9" * 5000 + "}"),
    "2**53 + 1": in_metadata('{"a":9007199254740993}'),
    "-(2**53 + 1)": in_metadata('{"a":-9007199254740993}'),
    "1e-400": in_metadata('{"a":1e-400}'),
    "1e16": in_metadata('{"a":1e16}'),
    "an exponent beyond any": in_metadata('{"a":1e-99999999999999999999}'),
    "20 digits of fraction": in_metadata('{"a":0.12345678901234567890}'),
    "a leading zero": in_metadata('{"a":01}'),
    "a leading plus": in_metadata('{"a":+1}'),
    "hexadecimal": in_metadata('{"a":0x1}'),
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_not_strict_json_is_refused_with_a_row(vault: VaultServer, body: bytes) -> None:
    assert_refused(vault, put(vault, "json-1", body), 400, "invalid-json", "invalid_json")


DUPLICATES = {
    "at the top": b'{"encrypted_value":"a","encrypted_value":"b"}',
    "with equal values": b'{"encrypted_value":"a","encrypted_value":"a"}',
    "one of them escaped": b'{"encrypted_value":"a","encrypted\\u005fvalue":"b"}',
    "in the metadata": in_metadata('{"a":1,"a":2}'),
    "deep in the metadata": in_metadata('{"a":[{"b":{"c":1,"c":1}}]}'),
    "in a field that is unknown": b'{"encrypted_value":"a","x":{"y":1,"y":1}}',
}


@pytest.mark.parametrize("body", DUPLICATES.values(), ids=DUPLICATES.keys())
def test_a_key_that_stands_twice_is_refused_with_a_row(vault: VaultServer, body: bytes) -> None:
    assert_refused(vault, put(vault, "json-2", body), 400, "duplicate-key", "invalid_json")


DEEP = {
    "33 levels": in_metadata('{"a":' + "[" * 31 + "]" * 31 + "}"),
    "33 levels of objects": in_metadata('{"a":' * 32 + "1" + "}" * 32),
    "10**5 brackets": b"[" * 100_000,
    "10**5 brackets closed": b"[" * 50_000 + b"]" * 50_000,
    "10**4 objects": b'{"a":' * 10_000,
    "deep behind an escaped quote": in_metadata('{"a":"\\"","b":' + "[" * 40 + "]" * 40 + "}"),
}


@pytest.mark.parametrize("body", DEEP.values(), ids=DEEP.keys())
def test_deep_nesting_is_refused_with_a_row(vault: VaultServer, body: bytes) -> None:
    assert_refused(vault, put(vault, "json-3", body), 400, "too-deep", "invalid_json")


def test_32_levels_are_taken(vault: VaultServer) -> None:
    assert put(vault, "json-32", in_metadata('{"a":' + "[" * 30 + "]" * 30 + "}")).status == 201


def test_brackets_in_a_text_are_not_nesting(vault: VaultServer) -> None:
    assert put(vault, "json-33", in_value("[{" * 500)).status == 201


def test_deep_nesting_is_refused_at_once(vault: VaultServer) -> None:
    started = time.perf_counter()
    put(vault, "json-4", b"[" * 100_000)
    assert time.perf_counter() - started < 0.25


SLOW_TO_SCAN: dict[str, Callable[[int], bytes]] = {
    "escaped quotes without end": lambda size: b'{"a":"' + b'\\"' * (size // 2) + b"[]" * 33,
    "quotes": lambda size: b'"' * size + b"[]" * 33,
    "backslashes": lambda size: b'"' + b"\\" * size + b"[]" * 33,
    "open texts": lambda size: b'"a' * (size // 2) + b"[]" * 33,
    "numbers": lambda size: b"[" + b"1," * (size // 2) + b"[]" * 33,
    "open objects": lambda size: b'{"a":1,' * (size // 7) + b"[]" * 33,
}


@pytest.mark.parametrize("make", SLOW_TO_SCAN.values(), ids=SLOW_TO_SCAN.keys())
def test_refusing_a_body_takes_time_in_proportion_to_its_length(
    vault: VaultServer, make: Callable[[int], bytes]
) -> None:
    """24 KiB, for what is quadratic still ends then: a full-size body of that kind would stop the server for hours."""
    started = time.perf_counter()
    answer = put(vault, "json-5", make(24_000))
    assert time.perf_counter() - started < 0.25
    assert answer.status == 400


BAD_TEXTS = {
    "a lone high surrogate": "\\ud800",
    "a lone low surrogate": "\\udc00",
    "surrogates the wrong way round": "\\udc00\\ud800",
    "NUL": "a\\u0000b",
    "a C0 control": "a\\u0001b",
    "escape": "a\\u001b[31m",
    "delete": "a\\u007fb",
    "a C1 control": "a\\u0085b",
    "a bidirectional override": "a\\u202eb",
    "a bidirectional isolate": "a\\u2066b",
    "a right-to-left mark": "a\\u200fb",
    "a non-character": "a\\ufffeb",
    "another non-character": "a\\ufdd0b",
    "a non-character beyond the first plane": "a\\ud83f\\udffeb",
}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
@pytest.mark.parametrize(
    "body",
    [
        '{{"encrypted_value":"{0}"}}',
        '{{"encrypted_value":"v","key_ref":"{0}"}}',
        '{{"encrypted_value":"v","algorithm_hint":"{0}"}}',
        '{{"encrypted_value":"v","metadata":{{"a":"{0}"}}}}',
        '{{"encrypted_value":"v","metadata":{{"{0}":1}}}}',
        '{{"encrypted_value":"v","metadata":{{"a":[{{"b":"{0}"}}]}}}}',
    ],
    ids=["value", "key_ref", "algorithm_hint", "metadata", "metadata key", "deep metadata"],
)
def test_a_text_with_a_character_that_deceives_is_refused_with_a_row(vault: VaultServer, body: str, text: str) -> None:
    answer = put(vault, "text-1", body.format(text).encode())
    assert_refused(vault, answer, 422, "invalid-text", "invalid_metadata")


@pytest.mark.parametrize("text", ["a\\nb", "a\\tb"])
def test_metadata_has_no_line_breaks(vault: VaultServer, text: str) -> None:
    answer = put(vault, "text-2", in_metadata(f'{{"a":"{text}"}}'))
    assert_refused(vault, answer, 422, "invalid-text", "invalid_metadata")


INVISIBLE = {
    "a line separator": "\u2028",
    "a paragraph separator": "\u2029",
    "a zero-width space": "\u200b",
    "a zero-width joiner": "\u200d",
    "a word joiner": "\u2060",
    "a byte order mark": "\ufeff",
    "a soft hyphen": "\u00ad",
    "a filler": "\u3164",
    "a tag": "\U000e0041",
}
READ_BY_PEOPLE: dict[str, tuple[str, str, Any]] = {
    "key_ref": ("PUT", "/vault/card/shown", {"encrypted_value": "v", "key_ref": "{}"}),
    "metadata": ("PUT", "/vault/card/shown", {"encrypted_value": "v", "metadata": {"a": "{}"}}),
    "the reason of a hold": (
        "PUT",
        "/admin/legal-holds/shown",
        {"case_reference": "c", "reason": "a{}b", "selector": {"purpose": "ach"}},
    ),
    "the reference of a hold": (
        "PUT",
        "/admin/legal-holds/shown",
        {"case_reference": "c{}", "reason": "r", "selector": {"purpose": "ach"}},
    ),
    "a justification": (
        "PUT",
        "/admin/retention-policies/shown",
        {"max_retention_days": 1, "purge_method": "physical-delete", "justification": "a{}"},
    ),
    "a policy's description": ("PUT", "/admin/access-policies/shown", {"description": "a{}"}),
    "a key's identity": ("POST", "/admin/api-keys", {"app": "shown", "identity": "a{}"}),
    "a key's description": ("POST", "/admin/api-keys", {"app": "shown", "description": "a{}"}),
    "an identity to explain": (
        "POST",
        "/admin/access-policies/explain",
        {"app": "a", "identity": "a{}", "operation": "store", "purpose": "card", "external_id": "a"},
    ),
}


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE.keys())
@pytest.mark.parametrize(("method", "target", "body"), READ_BY_PEOPLE.values(), ids=READ_BY_PEOPLE.keys())
def test_text_that_people_read_has_no_invisible_character(
    vault: VaultServer, method: str, target: str, body: Any, character: str
) -> None:
    who = "payments" if target.startswith("/vault") else ADMIN
    sent = json.dumps(body, ensure_ascii=False).replace("{}", character).encode()
    assert_problem(vault.call(who, method, target, body=sent), 422, "invalid-text")


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE.keys())
def test_a_query_has_no_invisible_character(vault: VaultServer, character: str) -> None:
    assert_problem(vault.call("payments", "GET", f"/vault/card?key_ref=a{quote(character)}"), 422, "invalid-query")


KEPT_VALUES = {
    "ASCII": "vault:v1:AES256-GCM:keyid=7:c2VjcmV0",
    "lines of armour": "-----BEGIN X-----\nabc\r\n\tdef\n",
    "euro": "\u20ac",
    "emoji": "\U0001f600",
    "composed and decomposed": "\u00e9e\u0301",
    "blanks at both ends": "  v  ",
    "JSON in it": '{"a": "\\u0000"}',
    "HTML in it": "<script>alert(1)</script>",
    "a percent": "%00%ff",
    "one character": "x",
    "zero-width joiner": "a\u200db",
}


@pytest.mark.parametrize("value", KEPT_VALUES.values(), ids=KEPT_VALUES.keys())
def test_a_value_comes_back_as_it_went_in(vault: VaultServer, value: str) -> None:
    name = f"card/kept-{zlib.crc32(value.encode())}"
    vault.stored("payments", name, value)
    assert vault.get("payments", name).json["encrypted_value"] == value


def test_every_byte_comes_back_through_base64(vault: VaultServer) -> None:
    value = base64.b64encode(bytes(range(256))).decode()
    vault.stored("payments", "card/kept-base64", value, encoding="base64")
    assert vault.get("payments", "card/kept-base64").json["encrypted_value"] == value


KEPT_METADATA = {
    "an empty object": {},
    "nested": {"a": [1, {"b": None}], "c": {"d": [True, False]}},
    "numbers": {"a": 0, "b": -1, "c": 1.5, "d": 9007199254740991, "e": -9007199254740991, "f": 1e-7},
    "unicode": {"\u00fc": "\u20ac \U0001f600"},
    "a no-break space and a variation selector": {"a": "10\u00a0000 \u2764\ufe0f"},
    "an empty key": {"": "x"},
    "names of prototypes": {"__proto__": {"admin": True}, "constructor": "x"},
    "a key that the vault uses": {"encrypted_value": "x", "owner_app": "vault-admin"},
    "a text of 1 KiB": {"a": "x" * 1024},
    "64 keys": {f"k{number}": number for number in range(64)},
    "a key of 64": {"k" * 64: 1},
}


@pytest.mark.parametrize("metadata", KEPT_METADATA.values(), ids=KEPT_METADATA.keys())
def test_metadata_comes_back_as_it_went_in(vault: VaultServer, metadata: dict[str, Any]) -> None:
    name = f"card/meta-{zlib.crc32(json.dumps(metadata).encode())}"
    vault.stored("payments", name, MARKER, metadata=metadata)
    assert vault.get("payments", name).json["metadata"] == metadata


@pytest.mark.parametrize("number", ["1.0", "1.50", "1e2", "2.5e-300", "1E-7", "-0", "-0.0", "0.1"])
def test_a_number_keeps_its_value_and_what_get_returns_is_taken_back(vault: VaultServer, number: str) -> None:
    name = f"number-{number}"
    assert put(vault, name, in_metadata(f'{{"n":{number}}}')).status == 201
    found = vault.get("payments", f"card/{name}")
    assert found.json["metadata"] == {"n": float(number)}
    again = vault.put("payments", f"card/{name}", found.json["encrypted_value"], metadata=found.json["metadata"])
    assert (again.status, again.json["version"]) == (200, 1)


FAULTY: dict[str, tuple[Any, str]] = {
    "no value": ({}, "encrypted_value"),
    "an empty value": ({"encrypted_value": ""}, "encrypted_value"),
    "null for the value": ({"encrypted_value": None}, "encrypted_value"),
    "a number for the value": ({"encrypted_value": 1}, "encrypted_value"),
    "a list for the value": ({"encrypted_value": ["v"]}, "encrypted_value"),
    "an unknown field": ({"encrypted_value": "v", "colour": 1}, "colour"),
    "the owner as field": ({"encrypted_value": "v", "owner_app": "vault-admin"}, "owner_app"),
    "a field in other case": ({"encrypted_value": "v", "Key_Ref": "k"}, "Key_Ref"),
    "an encoding there is not": ({"encrypted_value": "v", "encoding": "utf-16"}, "encoding"),
    "null for the encoding": ({"encrypted_value": "v", "encoding": None}, "encoding"),
    "a number for key_ref": ({"encrypted_value": "v", "key_ref": 7}, "key_ref"),
    "an empty key_ref": ({"encrypted_value": "v", "key_ref": ""}, "key_ref"),
    "a key_ref of 257": ({"encrypted_value": "v", "key_ref": "k" * 257}, "key_ref"),
    "a hint of 65": ({"encrypted_value": "v", "algorithm_hint": "h" * 65}, "algorithm_hint"),
    "a boolean for the hint": ({"encrypted_value": "v", "algorithm_hint": True}, "algorithm_hint"),
    "a list for metadata": ({"encrypted_value": "v", "metadata": []}, "metadata"),
    "a text for metadata": ({"encrypted_value": "v", "metadata": "{}"}, "metadata"),
    "null for metadata": ({"encrypted_value": "v", "metadata": None}, "metadata"),
    "a number for expires_at": ({"encrypted_value": "v", "expires_at": 1}, "expires_at"),
    "a policy name in upper case": ({"encrypted_value": "v", "access_policy": "Owner-Only"}, "access_policy"),
    "an empty policy name": ({"encrypted_value": "v", "access_policy": ""}, "access_policy"),
    "a policy name of 129": ({"encrypted_value": "v", "access_policy": "p" * 129}, "access_policy"),
    "a policy name with a line break": ({"encrypted_value": "v", "access_policy": "owner-only\n"}, "access_policy"),
}


@pytest.mark.parametrize(("body", "field"), FAULTY.values(), ids=FAULTY.keys())
def test_a_faulty_field_is_named_but_not_its_value(vault: VaultServer, body: Any, field: str) -> None:
    answer = put(vault, "field-1", json.dumps(body).encode())
    assert answer.status == 422
    assert field in [fault["field"] for fault in answer.json["errors"]]


@pytest.mark.parametrize("body", [body for body, _ in FAULTY.values() if "\n" not in str(body.get("access_policy"))])
def test_a_faulty_field_is_refused_with_a_row(vault: VaultServer, body: Any) -> None:
    answer = put(vault, "field-1", json.dumps(body).encode())
    assert_refused(vault, answer, 422, "validation-failed", "validation")


@pytest.mark.parametrize(
    ("field", "right"),
    [("Key_Ref", "key_ref"), ("encypted_value", "encrypted_value"), ("expires", "expires_at"), ("meta", "metadata")],
)
def test_an_unknown_field_names_the_nearest_right_one(vault: VaultServer, field: str, right: str) -> None:
    answer = put(vault, "field-4", json.dumps({"encrypted_value": "v", field: "x"}).encode())
    assert answer.json["errors"] == [{"field": field, "expected": f"unknown field (did you mean {right}?)"}]


def test_an_unknown_field_inside_another_names_the_nearest_of_that_one(vault: VaultServer) -> None:
    body = {"rules": {"retrieve": {"allow_apps": None}}}
    answer = vault.call(ADMIN, "PUT", "/admin/access-policies/near", json_body=body)
    assert answer.json["errors"] == [
        {"field": "rules.retrieve.allow_apps", "expected": "unknown field (did you mean allowed_apps?)"}
    ]


def test_an_unknown_member_of_a_query_names_the_nearest(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", "/vault/card?keyref=x")
    assert answer.json["errors"] == [{"field": "keyref", "expected": "unknown field (did you mean key_ref?)"}]


@pytest.mark.parametrize(
    ("target", "body", "near"),
    [
        ("/admin/access-policies/near", {"evaluator": "rule"}, "(did you mean rules?)"),
        (
            "/admin/retention-policies/near",
            {"max_retention_days": 1, "purge_method": "crypto-shed"},
            "(did you mean crypto-shred?)",
        ),
    ],
)
def test_a_name_that_no_plugin_offers_comes_with_the_nearest(
    vault: VaultServer, target: str, body: Any, near: str
) -> None:
    answer = vault.call(ADMIN, "PUT", target, json_body=body)
    assert answer.status == 422
    assert answer.json["errors"][0]["expected"].endswith(near)


UNDEFINED: dict[str, tuple[str, str, Any, str]] = {
    "the purpose of a key": (
        "POST",
        "/admin/api-keys",
        {"app": "typo", "purposes": ["card", "cart"]},
        "purpose cart is not defined (did you mean card?): nothing can be stored until it has a retention policy",
    ),
    "the app of a policy": (
        "PUT",
        "/admin/access-policies/typo",
        {"rules": {"retrieve": {"allowed_apps": ["@owner", "payments", "biling"]}}},
        "app biling is not defined (did you mean billing?): no credential names it",
    ),
    "the purpose of a hold": (
        "PUT",
        "/admin/legal-holds/typo-purpose",
        {"case_reference": "17 O 4/27", "reason": "Litigation", "selector": {"purpose": "cart"}},
        "purpose cart is not defined (did you mean card?): the hold keeps no entry",
    ),
    "the app of a hold": (
        "PUT",
        "/admin/legal-holds/typo-app",
        {"case_reference": "17 O 4/27", "reason": "Litigation", "selector": {"owner_app": "biling"}},
        "app biling is not defined (did you mean billing?): no credential names it",
    ),
    "the purpose of a new retention policy": (
        "PUT",
        "/admin/retention-policies/crad",
        {"max_retention_days": 9, "purge_method": "physical-delete"},
        "purpose crad is named by no credential (did you mean card?)",
    ),
    "an allowed access policy": (
        "PUT",
        "/admin/retention-policies/typo",
        {
            "max_retention_days": 9,
            "purge_method": "physical-delete",
            "allowed_access_policies": ["owner-only", "same-porpoise"],
        },
        "access policy same-porpoise is not defined (did you mean same-purpose?): owner-only rules apply until it is",
    ),
}


@pytest.mark.parametrize(("method", "target", "body", "warning"), UNDEFINED.values(), ids=UNDEFINED.keys())
def test_a_name_that_nothing_defines_is_warned_of(
    vault: VaultServer, method: str, target: str, body: Any, warning: str
) -> None:
    answer = vault.call(ADMIN, method, target, json_body=body)
    assert answer.status in {200, 201}
    assert answer.json["warnings"] == [warning]


def warnings_of_new_purpose(vault: VaultServer, purpose: str) -> list[str]:
    policy = {"max_retention_days": 9, "purge_method": "physical-delete"}
    answer = vault.call(ADMIN, "PUT", f"/admin/retention-policies/{purpose}?dry_run=true", json_body=policy)
    assert answer.status == 200
    return list(answer.json.get("warnings", []))


def test_a_new_purpose_like_another_is_not_warned_of_where_a_key_names_it(vault: VaultServer) -> None:
    assert warnings_of_new_purpose(vault, "carb") != []
    key = vault.call(ADMIN, "POST", "/admin/api-keys", json_body={"app": "carbon", "purposes": ["carb"]})
    assert key.status == 201
    assert warnings_of_new_purpose(vault, "carb") == []


def test_a_new_purpose_like_no_other_is_not_warned_of(vault: VaultServer) -> None:
    assert warnings_of_new_purpose(vault, "wholly-other") == []


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true"])
def test_a_body_that_is_no_object_is_refused_with_a_row(vault: VaultServer, body: bytes) -> None:
    assert_refused(vault, put(vault, "field-2", body), 422, "validation-failed", "validation")


def test_a_refused_value_is_not_repeated(vault: VaultServer) -> None:
    answer = put(vault, "field-3", json.dumps({"encrypted_value": "v", "key_ref": MARKER * 40}).encode())
    assert MARKER.encode() not in answer.body


LARGE_METADATA = {
    "beyond 8 KiB": {f"k{number}": "x" * 1000 for number in range(9)},
    "65 keys": {f"k{number}": 1 for number in range(65)},
    "a key of 65": {"k" * 65: 1},
    "a deep key of 65": {"a": {"k" * 65: 1}},
    "a text of 1025": {"a": "x" * 1025},
    "a deep text of 1025": {"a": ["x" * 1025]},
    "beyond 8 KiB in UTF-8": {f"k{number}": "\u20ac" * 1000 for number in range(3)},
}


@pytest.mark.parametrize("metadata", LARGE_METADATA.values(), ids=LARGE_METADATA.keys())
def test_metadata_beyond_a_limit_is_refused_with_a_row(vault: VaultServer, metadata: dict[str, Any]) -> None:
    body = json.dumps({"encrypted_value": "v", "metadata": metadata}).encode()
    assert_refused(vault, put(vault, "meta-1", body), 422, "metadata-too-large", "validation")


NOT_BASE64 = {
    "an alphabet of another kind": "!!!!",
    "the URL alphabet": "_-_-",
    "padding missing": "YQ",
    "padding too much": "YQ===",
    "padding alone": "====",
    "padding inside": "YQ==YQ==",
    "trailing bits": "YR==",
    "more trailing bits": "YWJ=",
    "a blank": "YW Jj",
    "a line break": "YWJj\n",
    "one character": "A",
    "not ASCII": "\u00e4\u00e4\u00e4\u00e4",
}


@pytest.mark.parametrize("text", NOT_BASE64.values(), ids=NOT_BASE64.keys())
def test_base64_that_is_not_canonical_is_refused_with_a_row(vault: VaultServer, text: str) -> None:
    body = json.dumps({"encrypted_value": text, "encoding": "base64"}).encode()
    assert_refused(vault, put(vault, "base64-1", body), 422, "invalid-base64", "validation")


def test_a_value_of_exactly_the_limit_is_taken(vault: VaultServer) -> None:
    assert vault.put("payments", "card/limit-1", "x" * LIMIT).status == 201


def test_the_limit_counts_bytes_not_characters(vault: VaultServer) -> None:
    answer = vault.put("payments", "card/limit-2", "\u20ac" * (LIMIT // 3 + 1))
    assert_refused(vault, answer, 413, "payload-too-large", "too_large")


def test_the_limit_counts_the_bytes_that_base64_stands_for(vault: VaultServer) -> None:
    value = base64.b64encode(bytes(LIMIT)).decode()
    assert vault.put("payments", "card/limit-3", value, encoding="base64").status == 201


def test_a_value_of_one_byte_more_than_the_limit_is_refused_with_a_row(vault: VaultServer) -> None:
    answer = vault.put("payments", "card/limit-4", "x" * (LIMIT + 1))
    assert_refused(vault, answer, 413, "payload-too-large", "too_large")


def test_a_body_beyond_the_limit_is_refused_by_its_length(vault: VaultServer) -> None:
    answer = put(vault, "limit-5", b" " * (BODY_LIMIT + 1))
    assert_refused(vault, answer, 413, "payload-too-large", "too_large")


@pytest.mark.parametrize("length", ["131073", "999999999999"])
def test_a_giant_length_is_refused_before_the_body(vault: VaultServer, length: str) -> None:
    answer = put(vault, "limit-6", b"{}", {"Content-Length": length})
    assert_refused(vault, answer, 413, "payload-too-large", "too_large")


def test_a_value_beyond_the_limit_is_not_stored(vault: VaultServer) -> None:
    vault.put("payments", "card/limit-7", "x" * (LIMIT + 1))
    assert_problem(vault.get("payments", "card/limit-7"), 404, "not-found")


def test_a_purpose_without_retention_policy_takes_nothing(vault: VaultServer) -> None:
    answer = vault.put(ADMIN, "unruled/a")
    assert_refused(vault, answer, 422, "no-retention-policy", "no_retention_policy")


REFUSED_POLICIES: dict[str, Any] = {
    "no days": {"purge_method": "physical-delete"},
    "0 days": {"max_retention_days": 0, "purge_method": "physical-delete"},
    "36501 days": {"max_retention_days": 36501, "purge_method": "physical-delete"},
    "days as text": {"max_retention_days": "30", "purge_method": "physical-delete"},
    "days as boolean": {"max_retention_days": True, "purge_method": "physical-delete"},
    "days as fraction": {"max_retention_days": 30.5, "purge_method": "physical-delete"},
    "a default beyond the maximum": {
        "max_retention_days": 30,
        "default_ttl_days": 31,
        "purge_method": "physical-delete",
    },
    "a default of 0": {"max_retention_days": 30, "default_ttl_days": 0, "purge_method": "physical-delete"},
    "a method there is not": {"max_retention_days": 30, "purge_method": "shred-twice"},
    "no method": {"max_retention_days": 30},
    "no proof": {"max_retention_days": 30, "purge_method": "physical-delete", "require_purge_proof": False},
    "an unknown field": {"max_retention_days": 30, "purge_method": "physical-delete", "auto": 1},
    "prose beyond its length": {"max_retention_days": 30, "purge_method": "physical-delete", "description": "x" * 1025},
}


@pytest.mark.parametrize("body", REFUSED_POLICIES.values(), ids=REFUSED_POLICIES.keys())
def test_a_faulty_retention_policy_is_refused_with_a_row(vault: VaultServer, body: Any) -> None:
    answer = vault.call(ADMIN, "PUT", "/admin/retention-policies/faulty", json_body=body)
    assert_refused(vault, answer, 422, "validation-failed", "validation")


REFUSED_RULES: dict[str, Any] = {
    "an operation there is not": {"rules": {"read": {}}},
    "a rule that is a list": {"rules": {"retrieve": []}},
    "an unknown member of a rule": {"rules": {"retrieve": {"apps": []}}},
    "an app outside the grammar": {"rules": {"retrieve": {"allowed_apps": ["a b"]}}},
    "an app with a line break": {"rules": {"retrieve": {"allowed_apps": ["billing\n"]}}},
    "a word with an at sign": {"rules": {"retrieve": {"allowed_apps": ["@everyone"]}}},
    "apps that are a text": {"rules": {"retrieve": {"allowed_apps": "billing"}}},
    "0 retrievals": {"rules": {"retrieve": {"max_retrievals": 0}}},
    "retrievals as boolean": {"rules": {"retrieve": {"max_retrievals": True}}},
    "any purpose for storing": {"rules": {"store": {"any_purpose": True}}},
    "any purpose for purging": {"rules": {"purge": {"any_purpose": True}}},
    "retrievals of storing": {"rules": {"store": {"max_retrievals": 1}}},
    "identity as number": {"rules": {"retrieve": {"require_identity": 1}}},
    "an evaluator there is not": {"evaluator": "astrology"},
    "parameters for the rules": {"rules": {}, "parameters": {"a": 1}},
    "an unknown member": {"rules": {}, "allow_all": True},
}


@pytest.mark.parametrize("body", REFUSED_RULES.values(), ids=REFUSED_RULES.keys())
def test_a_faulty_access_policy_is_refused(vault: VaultServer, body: Any) -> None:
    answer = vault.call(ADMIN, "PUT", "/admin/access-policies/faulty", json_body=body)
    assert answer.status == 422, answer
    assert vault.row(answer)["outcome"] == "denied"


def test_a_faulty_access_policy_is_not_in_force(vault: VaultServer) -> None:
    vault.call(ADMIN, "PUT", "/admin/access-policies/faulty", json_body={"rules": {"read": {}}})
    assert_problem(vault.call(ADMIN, "GET", "/admin/access-policies/faulty"), 404, "policy-not-found")


WITH_ERRORS: dict[str, Any] = {
    "validation-failed": {"encrypted_value": 1},
    "invalid-text": {"encrypted_value": "v", "metadata": {"a": "\u0000"}},
    "invalid-base64": {"encrypted_value": "!", "encoding": "base64"},
    "metadata-too-large": {"encrypted_value": "v", "metadata": {"a": "x" * 2000}},
    "invalid-time": {"encrypted_value": "v", "expires_at": "tomorrow"},
    "expires-in-past": {"encrypted_value": "v", "expires_at": "2020-01-01T00:00:00Z"},
    "retention-exceeded": {"encrypted_value": "v", "expires_at": "2999-01-01T00:00:00Z"},
}


@pytest.mark.parametrize(("slug", "body"), WITH_ERRORS.items())
def test_a_422_names_the_fields_at_fault(vault: VaultServer, slug: str, body: Any) -> None:
    answer = put(vault, "errors-1", json.dumps(body).encode())
    assert answer.slug == slug
    assert answer.json.get("errors")


def test_the_purpose_is_checked_before_the_body(vault: VaultServer) -> None:
    answer = vault.call("other", "PUT", "/vault/card/order-1", body=b"not json", headers={"Content-Type": "text/x"})
    assert_refused(vault, answer, 403, "access-denied", "purpose-not-held")


@pytest.mark.parametrize("target", ["/admin/retention-policies/card", "/admin/access-policies/mine"])
def test_the_role_is_checked_before_the_body(vault: VaultServer, target: str) -> None:
    answer = vault.call("payments", "PUT", target, body=b"not json")
    assert_refused(vault, answer, 403, "role-required", "role")


def test_nothing_that_was_refused_is_stored(vault: VaultServer) -> None:
    refused = [
        "media-1",
        "encoded-1",
        "json-1",
        "json-2",
        "json-3",
        "text-1",
        "field-1",
        "meta-1",
        "base64-1",
        "errors-1",
    ]
    for external_id in refused:
        assert_problem(vault.get("payments", f"card/{external_id}"), 404, "not-found")


REPEATED = {
    ("PUT", "/vault/card/repeat-1"): ({"encrypted_value": MARKER}, {"purpose": "card", "external_id": "repeat-1"}),
    ("PATCH", "/vault/card/repeat-1"): ({"ttl": "30d"}, {"purpose": "card", "external_id": "repeat-1"}),
    ("PUT", "/admin/retention-policies/repeats"): (
        {"max_retention_days": 30, "purge_method": "physical-delete"},
        {"purpose": "repeats"},
    ),
    ("PUT", "/admin/access-policies/repeats"): ({"rules": {"store": {}}}, {"name": "repeats"}),
    ("PUT", "/admin/legal-holds/repeats"): (
        {"case_reference": "1", "reason": "r", "selector": {"purpose": "repeats"}},
        {"name": "repeats"},
    ),
}


def test_every_put_and_patch_route_is_among_them() -> None:
    found = [Router(OPERATIONS).find(method, target.encode()).operation for method, target in REPEATED]
    changing = [each for each in OPERATIONS if each.method in ("PUT", "PATCH")]
    assert sorted((each.method, each.path) for each in found if each) == sorted((e.method, e.path) for e in changing)


@pytest.mark.parametrize(("method", "target"), REPEATED)
def test_a_body_may_repeat_what_the_path_says(vault: VaultServer, method: str, target: str) -> None:
    body, repeated = REPEATED[method, target]
    if method == "PATCH":
        vault.put("payments", target.removeprefix("/vault/"))
    who = "payments" if target.startswith("/vault") else ADMIN
    for name in repeated:
        for other in ("another", None, 7):
            answer = vault.call(who, method, target, json_body={**body, **repeated, name: other})
            assert_problem(answer, 422, "validation-failed")
            assert answer.json["errors"] == [{"field": name, "expected": f"the {name} of the path, or left out"}]
    assert vault.call(who, method, target, json_body={**body, **repeated}).status in (200, 201)


WITHOUT_BODY = ("/admin/purge/sweep", "/admin/attestations")


@pytest.mark.parametrize("path", WITHOUT_BODY)
@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        (b'{"dry_run": true}', 422, ["dry_run"]),
        (b'{"foo": 1, "bar": 2}', 422, ["foo", "bar"]),
        (b"[]", 422, [""]),
        (b"dry_run=true", 400, []),
    ],
)
def test_a_body_that_would_be_ignored_is_refused(
    vault: VaultServer, path: str, body: bytes, status: int, fields: list[str]
) -> None:
    def done() -> int:
        return len(vault.call(ADMIN, "GET", "/admin/attestations?limit=1000").json["attestations"]) + len(
            vault.rows("operation=sweep&outcome=granted&limit=1000")
        )

    before = done()
    answer = vault.call(ADMIN, "POST", path, body=body)
    slug, reason = ("validation-failed", "validation") if status == 422 else ("invalid-json", "invalid_json")
    assert_refused(vault, answer, status, slug, reason)
    assert [each["field"] for each in answer.json.get("errors", [])] == fields
    assert ("?dry_run=true" in answer.json.get("detail", "")) == (status == 422)
    assert done() == before


@pytest.mark.parametrize("path", WITHOUT_BODY)
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_body_without_members_changes_nothing(vault: VaultServer, path: str, body: bytes) -> None:
    assert vault.call(ADMIN, "POST", path, body=body).status in {200, 201}
