"""A body of a great many small values costs no more than a small one: examined values are counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from vsqlvault.errors import InvalidJson, MetadataTooLarge, PayloadTooLarge, TooDeep, ValidationFailed
from vsqlvault.http import json_body as strict_json
from vsqlvault.http.json_body import MAX_TOKENS, parse_json
from vsqlvault.http.schemas import metadata
from vsqlvault.http.schemas.bodies import AccessPolicyBody, StoreBody, read_body
from vsqlvault.http.schemas.metadata import MAX_METADATA_BYTES
from vsqlvault.service.entries.requests import Preconditions


class Counted(list[Any]):
    """A list that counts how many of its members were read."""

    looked_at = 0

    def __iter__(self) -> Iterator[Any]:
        for member in super().__iter__():
            self.looked_at += 1
            yield member


@pytest.fixture
def canonised(monkeypatch) -> list[Any]:
    """The values that were brought into canonical form."""
    seen: list[Any] = []
    real = metadata.canonical_json

    def spy(value: Any) -> bytes:
        seen.append(value)
        return real(value)

    monkeypatch.setattr(metadata, "canonical_json", spy)
    return seen


@pytest.fixture
def validated(monkeypatch) -> list[Any]:
    """The bodies that reached pydantic."""
    seen: list[Any] = []
    real = StoreBody.model_validate
    monkeypatch.setattr(StoreBody, "model_validate", lambda value: seen.append(value) or real(value))
    return seen


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The texts that reached the JSON parser."""
    seen: list[str] = []
    real = json.loads
    monkeypatch.setattr(strict_json.json, "loads", lambda text, **hooks: seen.append(text) or real(text, **hooks))
    return seen


def store(members: dict[str, Any]) -> Any:
    return StoreBody.model_construct(encrypted_value="v", metadata=members).wanted(Preconditions(), 65536)


MANY = 1_000_000
FLAT = {
    "numbers": [0] * MANY,
    "texts": ["x" * 100] * MANY,
    "empty lists": [[]] * MANY,
    "keys": [{"key": 1}] * MANY,
}


@pytest.mark.parametrize("members", FLAT.values(), ids=FLAT.keys())
def test_metadata_is_walked_only_until_it_is_too_large(canonised, members) -> None:
    values = Counted(members)
    with pytest.raises(MetadataTooLarge):
        store({"a": values})
    assert 0 < values.looked_at <= MAX_METADATA_BYTES + 1
    assert canonised == []


@pytest.mark.parametrize("members", FLAT.values(), ids=FLAT.keys())
def test_parameters_are_walked_only_until_they_are_too_large(canonised, members) -> None:
    values = Counted(members)
    with pytest.raises(ValidationFailed) as refused:
        AccessPolicyBody.model_construct(parameters={"a": values}).policy("tellers")
    assert [fault.field for fault in refused.value.errors] == ["parameters"]
    assert 0 < values.looked_at <= MAX_METADATA_BYTES + 1
    assert canonised == []


def test_metadata_of_exactly_the_limit_is_taken_and_a_byte_more_is_not() -> None:
    zeros = [0] * ((MAX_METADATA_BYTES - len('{"ab":}') - 1) // 2)
    full = {"ab": zeros}
    assert len(store(full).metadata) == MAX_METADATA_BYTES
    with pytest.raises(MetadataTooLarge):
        store({"abc": zeros})


@pytest.mark.parametrize("number", [21, 150_000])
def test_many_unknown_fields_are_refused_before_each_becomes_an_error(validated, number) -> None:
    body = {"encrypted_value": "v"} | {f"field{n}": 1 for n in range(number)}
    with pytest.raises(ValidationFailed) as refused:
        read_body(StoreBody, body)
    assert [(fault.field, fault.expected) for fault in refused.value.errors] == [
        (f"field{n}", "unknown field") for n in range(20)
    ]
    assert validated == []


def test_a_few_unknown_fields_are_reported_with_the_other_errors() -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_body(StoreBody, {"encrypted_value": 5, "colour": 1})
    assert {fault.field for fault in refused.value.errors} == {"encrypted_value", "colour"}


TOO_MANY = {
    "numbers": b'{"a":[' + b"0," * MAX_TOKENS + b"0]}",
    "objects": b"[" + b"{}," * MAX_TOKENS + b"0]",
    "texts": b"[" + b'"",' * MAX_TOKENS + b"0]",
    "members": b"{" + b'"a":0,' * MAX_TOKENS + b'"a":0}',
    "texts without commas": b"[" + b"[" * 32 + b'""' * MAX_TOKENS,
    "ends": b"[," + b"]," * MAX_TOKENS,
}


@pytest.mark.parametrize("body", TOO_MANY.values(), ids=TOO_MANY.keys())
def test_a_body_of_too_many_values_is_not_parsed(decoded, body) -> None:
    with pytest.raises((PayloadTooLarge, TooDeep)):
        parse_json(body)
    assert decoded == []


def test_a_body_of_as_many_values_as_may_be_is_parsed() -> None:
    zeros = MAX_TOKENS - len("[]") + 1
    assert parse_json(b"[" + b",".join([b"0"] * zeros) + b"]") == [0] * zeros
    with pytest.raises(PayloadTooLarge):
        parse_json(b"[" + b",".join([b"0"] * (zeros + 1)) + b"]")


@pytest.mark.parametrize(
    "text",
    ["," * 100_000, "[" * 100_000, '\\"' * 50_000, "\\\\" * 50_000, '\\",[{' * 20_000, "]" * 100_000],
    ids=["commas", "brackets", "escaped quotes", "backslashes", "all of it", "ends"],
)
def test_what_stands_in_a_text_is_not_counted(text) -> None:
    body = b'{"a":"' + text.encode() + b'","b":' + b"[0]}"
    assert parse_json(body) == {"a": json.loads(f'"{text}"'), "b": [0]}


@pytest.mark.parametrize(
    "body", [b'["' + b"," * 100, b'["' + b'\\"' * 50_000, b'[",,,' + b"," * 50 + b"\\"], ids=["open", "quotes", "end"]
)
def test_a_text_that_never_ends_is_no_json(body) -> None:
    with pytest.raises(InvalidJson):
        parse_json(b"[" * 3 + b"," * 40 + body)
