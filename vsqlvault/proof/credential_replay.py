"""Rebuilds the recorded credentials of the settings from the leaves of a log. No I/O.

A row ``credentials-loaded`` has all credentials after a start or reload. The rows before it, of the same commit, say what
was added, changed and removed. Both must agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vsqlvault.proof.state_replay import StateReplay

Document = Mapping[str, Any]
Inventory = Mapping[str, Document]
ADDED, CHANGED, REMOVED = "credential-added", "credential-changed", "credential-removed"
LOADED = "credentials-loaded"
MAX_BASES = 100
_MARK = b'"operation":"credential'


def name_of(document: Document) -> str:
    """Return what identifies a credential: its method and its id."""
    return f"{document['method']} {document['credential_id']}"


def inventory_of(documents: Iterable[Document]) -> Inventory:
    """Return the documents by name."""
    return {name_of(each): each for each in documents}


def inventory_text(base: Inventory, inventory: Inventory) -> str:
    """Return the ``new_value`` of a row ``credentials-loaded``: the credentials, and the hash of those before."""
    before = hashlib.sha256(_as_json(_listed(base)).encode()).hexdigest()
    return _as_json({"base_sha256": before, "credentials": _listed(inventory)})


def loaded_inventory(text: str | None) -> Inventory:
    """Return the credentials of a row ``credentials-loaded``; empty for any other text."""
    try:
        return inventory_of(json.loads(text or "")["credentials"])
    except (ValueError, KeyError, TypeError):
        return {}


class CredentialReplay:
    """Takes leaves in order. ``findings`` names each row that does not follow from those before it."""

    def __init__(self) -> None:
        self.inventory: Inventory = {}
        """The credentials after the newest start or reload that was taken."""
        self._bases: list[Inventory] = [{}]
        self._pending: list[tuple[str, Document]] = []
        self._findings: dict[str, int] = {}

    @property
    def findings(self) -> Sequence[tuple[int, str]]:
        """The leaves that disagree, and how."""
        return [(index, what) for what, index in self._findings.items()]

    def take(self, index: int, leaf: bytes) -> None:
        """Take the next leaf. To take rows again that are not in the tree yet changes nothing."""
        if _MARK not in leaf:
            return
        try:
            row = json.loads(leaf)["access"]
            if row["operation"] == LOADED:
                self._loaded(index, row)
            elif row["operation"] in {ADDED, CHANGED, REMOVED}:
                text = row["old_value"] if row["operation"] == REMOVED else row["new_value"]
                self._pending.append((row["operation"], json.loads(text)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._pending.clear()

    def _loaded(self, index: int, row: Document) -> None:
        said, pending = row["new_value"], self._pending
        self._pending = []
        for base in reversed(self._bases):
            after = _changed(base, pending)
            if _is_text(said, inventory_text(base, after)):
                self._keep(after)
                return
        self._findings.setdefault(f"the credentials of {row['at']} do not follow from the rows before", index)
        if isinstance(said, str):
            self._keep(loaded_inventory(said))

    def _keep(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self._bases = [*(each for each in self._bases if each != inventory), inventory][-MAX_BASES:]


class VaultReplay(StateReplay):
    """Rebuilds the state of a vault, and beside it the recorded credentials of its settings."""

    def __init__(self) -> None:
        super().__init__()
        self.credentials = CredentialReplay()

    def take(self, index: int, leaf: bytes, *, is_waiting: bool = False) -> None:
        """Take the next leaf. See ``StateReplay.take``."""
        super().take(index, leaf, is_waiting=is_waiting)
        self.credentials.take(index, leaf)


def _changed(base: Inventory, changes: Iterable[tuple[str, Document]]) -> Inventory:
    after = dict(base)
    for operation, document in changes:
        if operation == REMOVED:
            after.pop(name_of(document), None)
        else:
            after[name_of(document)] = document
    return after


def _is_text(said: Any, text: str) -> bool:
    """Whether the leaf has this text, or its hash."""
    if isinstance(said, dict):
        return bool(said.get("sha256") == hashlib.sha256(text.encode()).hexdigest())
    return bool(said == text)


def _listed(inventory: Inventory) -> list[Document]:
    return [inventory[name] for name in sorted(inventory)]


def _as_json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
