"""The limits of metadata, values and bodies."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.http.body_requests import put
from tests.support.checks import assert_problem, assert_refused
from tests.support.server import ADMIN, VaultServer

LIMIT = 65536
BODY_LIMIT = 131072


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
