"""Leaves: the canonical bytes of a row of either log, and their hash.

A leaf is the RFC 8785 form of ``{"access": row}`` or ``{"purge": row}``. The row has the members of ``GET
/admin/access-log`` and ``GET /admin/purge-log``, except those that are null, so that a later column does not change
existing leaves. docs/audit-log.md publishes the form, with worked examples.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from functools import cache
from hashlib import sha256
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any

from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import EntryVersion
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import format_time
from vsqlvault.model.transparency import LogName
from vsqlvault.proof.tiles import MAX_ENTRY_BYTES
from vsqlvault.proof.tree import leaf_hash

LONG_TEXT_BYTES = 256
_MEMBERS = {"stamp": "entry_id", "purge_id": "id"}
"""Attributes with other member names. An entry version becomes two members, and no other member sorts between them."""

_Members = tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]


def _members(kind: type[AccessRecord | PurgeRecord]) -> _Members:
    """Return the prefix of each member, in the order of their names, and a function that reads the attributes in that
    order.
    """
    order = sorted((field.name for field in fields(kind)), key=lambda name: _MEMBERS.get(name, name))
    return tuple(f',"{_MEMBERS.get(name, name)}":' for name in order), attrgetter(*order)


_FORMS: dict[type, tuple[str, _Members]] = {
    AccessRecord: (LogName.ACCESS.value, _members(AccessRecord)),
    PurgeRecord: (LogName.PURGE.value, _members(PurgeRecord)),
}


_HOLES = {
    ',"at":': ',"at":"%s"',
    ',"detail":': "%s",
    ',"entry_id":': "%s",
    ',"external_id":': "%s",
    ',"new_value":': "%s",
    ',"request_id":': "%s",
}
_read_shared = attrgetter(
    "app", "client_address", "count", "credential_id", "identity", "method", "operation._value_",
    "outcome._value_", "policy", "policy_version", "purpose", "reason", "role", "status", "untrusted_forwarding",
)  # fmt: skip
MAX_TEMPLATES = 1_024
_templates: dict[tuple[Any, ...], str] = {}


def row_leaf(record: AccessRecord | PurgeRecord) -> bytes:
    """Return the leaf of a row: JSON in UTF-8, at most 65,535 bytes.

    If it would be longer, each string of more than 256 bytes is replaced by ``{"sha256": its hash in hex, "size": its
    bytes}``.

    Raises:
        ValueError: for a string that UTF-8 cannot encode.
    """
    leaf = _leaf(record, encode_basestring)
    return leaf if len(leaf) <= MAX_ENTRY_BYTES else _leaf(record, _shortened)


def row_hash(record: AccessRecord | PurgeRecord) -> bytes:
    """Return the hash of a row's leaf, 32 bytes. Raises as ``row_leaf``.

    Access rows of one caller, policy and outcome differ in few members, so their leaves are made from a template.
    """
    if type(record) is AccessRecord and record.old_value is None:
        shared = _read_shared(record)
        template = _templates.get(shared) or _new_template(record, shared)
        stamp, external_id, request_id, detail = record.stamp, record.external_id, record.request_id, record.detail
        new_value = record.new_value
        leaf = (
            template
            % (
                format_time(record.at),
                "" if detail is None else f',"detail":{encode_basestring(detail)}',
                "" if stamp is None else f',"entry_id":{encode_basestring(stamp[0])},"entry_version":{stamp[1]}',
                "" if external_id is None else f',"external_id":{encode_basestring(external_id)}',
                "" if new_value is None else f',"new_value":{encode_basestring(new_value)}',
                "" if request_id is None else f',"request_id":{encode_basestring(request_id)}',
            )
        ).encode()
        if len(leaf) <= MAX_ENTRY_BYTES:
            return sha256(b"\x00" + leaf).digest()
    return leaf_hash(row_leaf(record))


def _new_template(record: AccessRecord, shared: tuple[Any, ...]) -> str:
    """Return the leaf of rows that share these members, with a hole for each other one, in the order of their names."""
    name, (beginnings, read) = _FORMS[AccessRecord]
    parts: list[str] = []
    for beginning, value in zip(beginnings, read(record), strict=True):
        if beginning in _HOLES:
            parts.append(_HOLES[beginning])
        elif isinstance(value, bool):
            parts.append(f"{beginning}{'true' if value else 'false'}")
        elif isinstance(value, int):
            parts.append(f"{beginning}{value}")
        elif value is not None:
            parts.append(beginning + encode_basestring(value).replace("%", "%%"))
    template = f'{{"{name}":{{{"".join(parts)[1:]}}}}}'
    if len(_templates) >= MAX_TEMPLATES:
        _templates.clear()
    _templates[shared] = template
    return template


def _leaf(record: AccessRecord | PurgeRecord, write_text: Callable[[str], str]) -> bytes:
    """Write the JSON directly. This runs on every request, and a general writer takes four times as long."""
    name, (beginnings, read) = _FORMS[type(record)]
    parts: list[str] = []
    for beginning, value in zip(beginnings, read(record), strict=True):
        kind = type(value)
        if kind is str:
            parts.append(beginning + write_text(value))
        elif value is None:
            continue
        elif kind is int:
            parts.append(f"{beginning}{value}")
        elif kind is datetime:
            parts.append(f'{beginning}"{format_time(value)}"')
        elif kind is bool:
            parts.append(f"{beginning}{'true' if value else 'false'}")
        elif kind is EntryVersion:
            parts.append(f'{beginning}{write_text(value[0])},"entry_version":{value[1]}')
        else:  # a text from a fixed list
            parts.append(beginning + write_text(value))
    return f'{{"{name}":{{{"".join(parts)[1:]}}}}}'.encode()


def _shortened(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= LONG_TEXT_BYTES:
        return encode_basestring(text)
    return f'{{"sha256":"{sha256(encoded).hexdigest()}","size":{len(encoded)}}}'


def granted_row(leaf: bytes, operation: str) -> dict[str, Any] | None:
    """Return the row of the access log in a leaf, if it grants this operation; None for any other leaf."""
    if (
        f'"operation":"{operation}"'.encode() not in leaf
    ):  # most leaves are of other operations: this is cheaper than JSON
        return None
    try:
        row = json.loads(leaf)["access"]
        is_granted = row["operation"] == operation and row["outcome"] == "granted"
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return row if is_granted else None


@cache
def _mark_of(operation: str) -> bytes:
    return f'"operation":"{operation}"'.encode()
