"""The rules that the rows of a log describe: policies, legal holds and API keys. No I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from vsqlvault.model.hold import HoldSelector, LegalHold
from vsqlvault.model.times import stored_time
from vsqlvault.proof.canonical import canonical_json, read_canonical
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.rule_documents import as_json

Document = Mapping[str, Any]
_MARK = re.compile(
    rb'"operation":"(?:change-access-policy|delete-access-policy|change-retention-policy|change-legal-hold|release-legal-hold'
    rb'|create-api-key|revoke-api-key)"'
)
_AUTHORSHIP = {"version", "held_since", "created_by", "created_at", "released_by", "released_at"}
"""Members that differ between two versions with the same effect."""


class RuleKind(StrEnum):
    """A kind of rule, as a person reads it."""

    ACCESS_POLICY = "access policy"
    RETENTION_POLICY = "retention policy"
    LEGAL_HOLD = "legal hold"
    API_KEY = "API key"


_CHANGES = {
    "change-access-policy": (RuleKind.ACCESS_POLICY, "name"),
    "change-retention-policy": (RuleKind.RETENTION_POLICY, "purpose"),
    "change-legal-hold": (RuleKind.LEGAL_HOLD, "name"),
    "release-legal-hold": (RuleKind.LEGAL_HOLD, "name"),
}


@dataclass(slots=True)
class RecordedRule:
    """The versions of one policy or hold that the rows describe, by their numbers.

    ``digest``: the newest row has only this hash of its version, as hex, because the version is too long for a leaf.
    """

    versions: dict[int, Document] = field(default_factory=dict)
    digest: str | None = None

    @property
    def number(self) -> int:
        """The number of the newest version; 0 if no row has one."""
        return max(self.versions, default=0)


@dataclass(slots=True)
class RecordedRules:
    """All rules by kind and name, and what each API key was the last time, by its id."""

    rules: dict[tuple[RuleKind, str], RecordedRule] = field(default_factory=dict)
    keys: dict[str, Document] = field(default_factory=dict)
    unreadable: int = 0
    """Rows about rules that cannot be decoded."""


def rules_in(leaves: Iterable[bytes]) -> RecordedRules:
    """Return the rules that verified leaves describe."""
    found = RecordedRules()
    for leaf in leaves:
        if _MARK.search(leaf):
            try:
                row = json.loads(leaf)["access"]
                if row["outcome"] == "granted":
                    _take(found, row)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                found.unreadable += 1
    return found


def is_same_version(recorded: Document, stored: Document) -> bool:
    """Whether a stored version is the recorded one. A member that the row does not have is newer, and has no value."""
    if is_deletion(recorded) or is_deletion(stored):
        return is_deletion(recorded) and is_deletion(stored)
    return _agree(recorded, stored, frozenset())


def is_same_rule(recorded: Document, stored: Document) -> bool:
    """Whether a stored version has the same effect as the recorded one, whatever its number and author."""
    return _agree(recorded, stored, _AUTHORSHIP)


def is_deletion(document: Document) -> bool:
    """Whether this version deleted an access policy."""
    return bool(document.get("dropped"))


def digest_of(stored: Document) -> str:
    """Return the hash by which a row names a version that is too long for a leaf."""
    return hashlib.sha256(as_json(stored).encode("utf-8", "surrogatepass")).hexdigest()


def hold_of(document: Document) -> LegalHold:
    """Return the hold of a document. Raises ValueError, KeyError, TypeError: it is not the document of a hold."""
    selector = dict(document["selector"])
    if "metadata" in selector:
        selector["metadata"] = canonical_json(read_canonical(json.dumps(selector["metadata"]))).decode()
    since = document.get("held_since")
    return LegalHold(
        name=document["name"],
        version=document["version"],
        case_reference=document["case_reference"],
        reason=document["reason"],
        selector=HoldSelector(**selector),
        held_since=stored_time(since) if since else None,
    )


def _take(found: RecordedRules, row: Document) -> None:
    operation = row["operation"]
    if operation == "delete-access-policy":
        kind, name = RuleKind.ACCESS_POLICY, row["detail"]
        version = json.loads(row["old_value"])["version"] + 1
        rule = found.rules.setdefault((kind, name), RecordedRule())
        rule.versions[version], rule.digest = {"name": name, "dropped": True}, None
    elif operation in _CHANGES:
        kind, member = _CHANGES[operation]
        if isinstance(row["new_value"], dict):
            found.rules.setdefault((kind, row["detail"]), RecordedRule()).digest = row["new_value"]["sha256"]
            return
        document = json.loads(row["new_value"])
        version = int(document["version"])
        rule = found.rules.setdefault((kind, document[member]), RecordedRule())
        rule.versions[version], rule.digest = document, None
    elif "new_value" in row:  # a key that was revoked before is not revoked again
        if isinstance(row["new_value"], dict):  # only its hash is in the row: the id is enough to revoke it
            document = {"revoked_at": row["at"]} if operation == "revoke-api-key" else {}
        else:
            document = json.loads(row["new_value"])
        found.keys[row["detail"]] = {**found.keys.get(row["detail"], {}), **document}


def _agree(recorded: Document, stored: Document, ignored: Iterable[str]) -> bool:
    return all(
        recorded[member] == value if member in recorded else not value
        for member, value in stored.items()
        if member not in ignored
    )
