"""Compares the policies, legal holds, attestations and access reviews of an evidence bundle with the leaves in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.model.times import stored_time
from vsqlvault.proof.canonical import canonical_json
from vsqlvault.proof.state_replay import HASHED, Recorded, StateReplay, differences

UNSETTLED = timedelta(minutes=1)
"""A row may be committed this long after its time. So a later version may have its leaf after the bundle's last one."""

MEMBERS = {
    "policies/access-policies.ndjson": ("access_policies", "name"),
    "policies/retention-policies.ndjson": ("retention_policies", "purpose"),
    "policies/legal-holds.ndjson": ("legal_holds", "name"),
}
"""The members with versions: the table of each, and the document's member that names the policy or hold."""

ATTESTATIONS = "attestations.ndjson"
REVIEWS = "access-reviews.ndjson"
SIGNED = {ATTESTATIONS: ("attestations", "attestation"), REVIEWS: ("access_reviews", "access_review")}
"""The members with signed documents: the table of each, and the name of a document in a line."""

_TEXT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
"""Writes a document as it is in ``new_value``."""

_AT = re.compile(rb'"at":"([^"]+)"')


class BundleReplay:
    """Takes the leaves of a bundle in order, then the lines of its members. ``findings`` names each difference.

    A bundle may begin within the log. A version from before ``since`` is then not compared.
    """

    def __init__(self, *, as_of: str, since: str, is_from_first_leaf: bool) -> None:
        """Raise ValueError if a time is malformed."""
        self._replay = StateReplay()
        self._as_of = stored_time(as_of)
        self._since = None if is_from_first_leaf else stored_time(since)
        self._newest: datetime | None = None
        self.findings: list[str] = []
        self.compared = 0

    def take(self, index: int, leaf: bytes) -> None:
        """Take a leaf that belongs to the log."""
        self._replay.take(index, leaf)
        if found := _AT.search(leaf):
            try:
                at = stored_time(found[1].decode())
            except ValueError:
                return
            self._newest = at if self._newest is None else max(self._newest, at)

    def version(self, member: str, document: Mapping[str, Any]) -> None:
        """Take a line of a member with versions. Raises KeyError, TypeError, ValueError for a malformed document."""
        table, name = MEMBERS[member]
        if document.get("built_in"):
            return
        key = f"{document[name]} v{document['version']}"
        without = {each: value for each, value in document.items() if each != "dropped"}
        self._compare(table, key, document, str(document["created_at"]), _TEXT.encode(without))

    def signed(self, member: str, shown: Mapping[str, Any]) -> None:
        """Take a line of a member with signed documents. Raises KeyError, TypeError, ValueError for a malformed one."""
        table, name = SIGNED[member]
        document = shown[name]
        number = document["number"]
        found = {"number": number, "sha256": hashlib.sha256(canonical_json(dict(document))).hexdigest()}
        self._compare(table, str(number), found, str(document["at"]))

    def finish(self) -> None:
        """Report the versions and signed documents that leaves created and that no member has."""
        for table, _ in (*MEMBERS.values(), *SIGNED.values()):
            for key, said in self._recorded(table).items():
                made = said.members.get("created_at")
                if stored_time(made if isinstance(made, str) else said.at) <= self._as_of:
                    self._find(table, key, f"missing (leaf {said.index})")

    def _compare(self, table: str, key: str, found: Mapping[str, Any], at: str, text: str = "") -> None:
        recorded = self._recorded(table)
        said = recorded.pop(key, None)
        if said is None and recorded.pop(HASHED + hashlib.sha256(text.encode()).hexdigest(), None) is not None:
            self.compared += 1
        elif said is not None:
            self.compared += 1
            for member, what in differences(said, found):
                self._find(table, key, f"{member} {what} (leaf {said.index})")
        elif self._must_have_leaf(stored_time(at)):
            self._find(table, key, "no leaf created this row")

    def _must_have_leaf(self, at: datetime) -> bool:
        if self._newest is None or at > self._newest - UNSETTLED:
            return False
        return self._since is None or at >= self._since

    def _recorded(self, table: str) -> dict[str, Recorded]:
        return self._replay.state.rows.get(table, {})

    def _find(self, table: str, key: str, what: str) -> None:
        self.findings.append(f"{table}, {key}: {what}")
