"""Bodies: one media type, one reading of JSON, nothing left to interpretation, and nothing stored of what is refused."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from tests.http.body_requests import put
from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer
from tests.support.wire import exchange, request_bytes

GOOD = json.dumps({"encrypted_value": MARKER}).encode()


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


def processor_seconds(vault: VaultServer) -> float:
    """Return the processor time of the server, which other load of the machine does not change."""
    found = psutil.Process(vault.pid).cpu_times()
    return float(found.user + found.system)


def test_deep_nesting_is_refused_at_once(vault: VaultServer) -> None:
    before = processor_seconds(vault)
    put(vault, "json-4", b"[" * 100_000)
    assert processor_seconds(vault) - before < 0.25


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
    before = processor_seconds(vault)
    answer = put(vault, "json-5", make(24_000))
    assert processor_seconds(vault) - before < 0.25
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
