"""Writes docs/plugin-api.md from the docstrings: ``python -m tests.docs.api_reference``."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from vsqlvault.config import PluginSettings
from vsqlvault.hookspecs import OFFERS
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.interfaces.page import PageRequest
from vsqlvault.interfaces.purge_method import PurgeRequest
from vsqlvault.interfaces.purge_storage import ExpiredQuery, ScrubOutcome
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.interfaces.request_observer import AnsweredRequest
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, MigrationStatus, Read, Snapshot, Storage
from vsqlvault.interfaces.stored_keys import StoredKeys
from vsqlvault.model.access import AccessRequest, Allow, Deny
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.control import Check, ControlState
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.principal import Principal
from vsqlvault.model.purge import Overwrite, PurgePlan, PurgeRecord, Remove
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.model.times import utc_now
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.storage_defaults import codec, filters
from vsqlvault.storage_defaults.basic import BasicWrite, Item, ItemIs, ItemKey, ItemRange, NewRow, PutItem, StoredRow
from vsqlvault.storage_defaults.batch_state import BatchState
from vsqlvault.storage_defaults.required import RequiredStorage
from vsqlvault.testing import StorageCapabilities

PAGE = Path(__file__).parents[2] / "docs" / "plugin-api.md"
HEAD = """# Plugin API

The protocols and values of [plugins](plugins.md), from their docstrings. This page is generated:
`python -m tests.docs.api_reference` writes it, and a test fails when it differs.
"""
PROTOCOLS = (*dict.fromkeys(kind.protocol for kind in OFFERS.values() if kind.protocol), RequiredStorage, BatchState)
VALUES = (
    PluginSettings, ProcessNeeds, AnsweredRequest,
    Presented, Principal, KnownCredential, StoredKeys, AccessRequest, Allow, Deny, AccessPolicy,
    RetentionPolicy, PurgeRequest, PurgePlan, Remove, Overwrite, Check, ControlState, AccessRecord, PurgeRecord, Checkpoint,
    ReportContext, PageRequest, Entry, EntryKey, EntryState, Read, Snapshot, EntryQuery, ExpiredQuery, LogQuery,
    MigrationStatus, ScrubOutcome, BasicWrite, NewRow, StoredRow, ItemKey, Item, ItemRange, ItemIs, PutItem,
    StorageCapabilities,
)  # fmt: skip
REFERENCES = (Storage.describe, Storage.schema_status, Storage.migrate, Storage.scrub)
"""What the docstrings of `RequiredStorage` refer to, and what most storages override."""
FUNCTIONS = (
    filters.selects_entry, filters.selects_row, filters.state_of, filters.end_of, codec.encode, codec.decode, utc_now,
)  # fmt: skip


def page() -> str:
    """Return the page of the present docstrings."""
    parts = [HEAD, "\n## Protocols\n", *(_class(each) for each in PROTOCOLS)]
    parts += ["\n## Values\n", *(_class(each) for each in VALUES)]
    parts += ["\n## Functions and methods for storages\n\n", *(_function(each) for each in (*REFERENCES, *FUNCTIONS))]
    return "".join(parts)


def _class(described: type) -> str:
    """Return the part about one class."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(described))).body[0]
    assert isinstance(tree, ast.ClassDef)
    text = f"\n### `{described.__module__}.{described.__qualname__}`\n\n{_prose(ast.get_docstring(tree))}\n"
    members = "".join(f"\n- `{signature}`{doc}\n" for signature, doc in _members(tree))
    return text + members.replace("\n\n- ", "\n- ")


def _members(tree: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for place, node in enumerate(tree.body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            following = tree.body[place + 1] if place + 1 < len(tree.body) else None
            default = f" = {ast.unparse(node.value)}" if node.value and "field(" not in ast.unparse(node.value) else ""
            is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            doc = following.value.value if is_text else ""  # type: ignore[union-attr]
            yield f"{node.target.id}: {ast.unparse(node.annotation)}{default}", _indented(str(doc))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name[0] != "_":
            yield _signature(node), _indented(ast.get_docstring(node) or "")


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return a function as it is called; a property as the attribute that its caller sees."""
    if node.returns and any(isinstance(each, ast.Name) and "property" in each.id for each in node.decorator_list):
        return f"{node.name}: {ast.unparse(node.returns)}"
    kind = "async def " if isinstance(node, ast.AsyncFunctionDef) else ""
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{kind}{node.name}({ast.unparse(node.args)}){result}"


def _function(described: Callable[..., object]) -> str:
    """Return the part about one function or method."""
    node = ast.parse(textwrap.dedent(inspect.getsource(described))).body[0]
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    place = f"{described.__module__}.{described.__qualname__.rpartition('.')[0]}".rstrip(".")
    return f"- `{place}`: `{_signature(node)}`{_indented(ast.get_docstring(node) or '')}\n"


def _prose(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("``", "`")


def _indented(text: str) -> str:
    """Return a docstring as the rest of a list item."""
    return f"\n{textwrap.indent(_prose(text), '  ')}" if text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
