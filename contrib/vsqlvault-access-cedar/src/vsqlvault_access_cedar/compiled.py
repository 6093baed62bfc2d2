"""Compiles the parameters of a policy for Cedar."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import cedarpy

from vsqlvault.errors import FieldError, ValidationFailed
from vsqlvault_access_cedar.parameters import read_parameters
from vsqlvault_access_cedar.policy_text import Statement, TextRefused, first_fault, line_and_column, read_statements

MAX_CACHED_DOCUMENTS = 64
_VAULT = (files(__package__) / "vault.cedarschema").read_text("utf-8")
_NUMBER = re.compile(r"policy([0-9]+)", re.ASCII)
_QUOTED = re.compile(r"`(?:[^`]*[.:])?(?P<name>[A-Za-z_][A-Za-z0-9_]*)`")
_KINDS = (
    ("unable to guarantee safety of access", "an optional attribute only after `has` has checked it"),
    ("attribute", "an attribute of the schema"),
    ("unrecognized entity type", "App, Role, Entry or Purpose"),
    ("unrecognized action", "the action store, retrieve, inspect or purge"),
    ("unable to find an applicable action", "an App as principal, one of the four actions, an Entry as resource"),
    ("unexpected type", "an operand of the type that its operator requires"),
    ("not compatible", "two operands of one type"),
    ("extension", "a literal that this extension function can parse"),
    ("empty set", "a set that is not empty"),
)


@dataclass(frozen=True, slots=True)
class Compiled:
    """Policies that match the schema. ``statements`` are in the order of Cedar's numbering."""

    policies: cedarpy.PolicySet
    schema: cedarpy.Schema
    statements: Sequence[Statement]
    metadata: Mapping[str, str]
    timezone: ZoneInfo

    def named(self, policy_id: str) -> Statement:
        """Return the statement with Cedar's id ``policy3``, the fourth one."""
        return self.statements[policy_number(policy_id)]


def policy_number(policy_id: str) -> int:
    """Return the number in an id such as ``policy3``, counted from 0."""
    found = _NUMBER.fullmatch(policy_id)
    if found is None:
        raise ValueError("expected an id of Cedar")
    return int(found[1])


@lru_cache(maxsize=MAX_CACHED_DOCUMENTS)
def compile_parameters(parameters: str) -> Compiled:
    """Return the compiled parameters of a policy.

    Raises:
        ValidationFailed: with the field, and for policies the line and column.
    """
    read = read_parameters(parameters)
    text = read.text
    try:
        statements = read_statements(text)
    except TextRefused as refused:
        raise _at(text, [(refused.offset, refused.expected)]) from None
    try:
        policies = cedarpy.PolicySet.from_str(text)
    except ValueError:
        raise _at(text, [(first_fault(text, statements, _complaint), "Cedar policies that parse")]) from None
    if len(policies) != len(statements):
        raise _at(text, [(0, "policies without slots, because templates cannot be linked")])
    schema = cedarpy.Schema.from_str(_VAULT + _metadata_type(read.metadata))
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        raise _at(text, [_explained(fault, statements) for fault in result.errors])
    return Compiled(policies, schema, statements, dict(read.metadata), ZoneInfo(read.timezone))


def _metadata_type(members: Mapping[str, str]) -> str:
    attributes = ", ".join(f'"{name}"?: {kind}' for name, kind in members.items())
    return f"type Metadata = {{ {attributes} }};\n"


def _complaint(text: str) -> str | None:
    try:
        cedarpy.PolicySet.from_str(text)
    except ValueError as refused:
        return str(refused)
    return None


def _explained(fault: cedarpy.ValidationError, statements: Sequence[Statement]) -> tuple[int, str]:
    """Return where the validator's error is, and what was expected. The validator's own message may quote the text."""
    statement = statements[policy_number(fault.policy_id)]
    expected = next((expected for sign, expected in _KINDS if sign in fault.error), "what the schema allows")
    names = [found["name"] for found in _QUOTED.finditer(fault.error) if not _NUMBER.fullmatch(found["name"])]
    places = [token.offset for token in statement.tokens if names and token.text == names[0]]
    return places[0] if places else statement.offset, expected


def _at(text: str, faults: Sequence[tuple[int, str]]) -> ValidationFailed:
    errors = []
    for offset, expected in sorted(set(faults)):
        line, column = line_and_column(text, offset)
        errors.append(FieldError("parameters.policies", f"line {line}, column {column}: {expected}"))
    return ValidationFailed(errors=errors)
