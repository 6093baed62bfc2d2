"""Decodes rows to values, for every SQL storage."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any, TypeVar

from vsqlvault.errors import Unavailable
from vsqlvault.model.access import Action
from vsqlvault.model.policy import AccessPolicy, Rule

Row = Any  # a driver's row: a tuple of columns, or an object that is indexed like one
Value = TypeVar("Value")
log = logging.getLogger(__name__)


def unreadable(reader: str, error: Exception) -> Unavailable:
    """Return the error for a row that ``reader`` cannot decode, and log it."""
    log.error("a stored row cannot be decoded", extra={"reader": reader, "error": type(error).__name__})
    return Unavailable("a stored row cannot be decoded")


def rules_text(policy: AccessPolicy) -> str:
    """Return the rules of a policy as JSON text."""
    rules = {
        action.value: {
            "allowed_apps": None if rule.allowed_apps is None else sorted(rule.allowed_apps),
            "require_identity": rule.require_identity,
            "max_retrievals": rule.max_retrievals,
            "any_purpose": rule.any_purpose,
        }
        for action, rule in policy.rules.items()
    }
    return json.dumps(rules, sort_keys=True)


def rules_of(text: str) -> dict[Action, Rule]:
    """Return the rules that ``rules_text`` wrote."""
    return {Action(action): _rule(document) for action, document in json.loads(text).items()}


def _rule(document: dict[str, Any]) -> Rule:
    apps = document["allowed_apps"]
    return Rule(
        allowed_apps=None if apps is None else frozenset(apps),
        require_identity=document["require_identity"],
        max_retrievals=document["max_retrievals"],
        any_purpose=document["any_purpose"],
    )


def names_text(names: Iterable[str] | None) -> str | None:
    """Return a set of names as JSON text, or None for None, which means all names."""
    return None if names is None else json.dumps(sorted(names))


def names_of(text: str | None) -> frozenset[str] | None:
    """Return the names that ``names_text`` wrote."""
    return None if text is None else frozenset(json.loads(text))
