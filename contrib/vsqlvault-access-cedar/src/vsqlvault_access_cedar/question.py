"""Converts the vault's access request to Cedar."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from vsqlvault.model.access import AccessRequest
from vsqlvault.model.entry import Entry
from vsqlvault.model.principal import Principal

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MAX_LONG = 2**63
_MILLISECOND = timedelta(milliseconds=1)


class MetadataMismatch(Exception):
    """A member of the entry's metadata does not have the type that the policy declares."""


def request_of(request: AccessRequest, timezone: ZoneInfo) -> dict[str, Any]:
    """Return principal, action, resource and context."""
    return {
        "principal": _uid("App", request.principal.app),
        "action": _uid("Action", request.action.value),
        "resource": _entry_uid(request),
        "context": {
            "at": _datetime(request.at),
            "creating": request.entry is None,
            "local": _local(request.at.astimezone(timezone)),
        },
    }


def entities_of(request: AccessRequest, metadata: Mapping[str, str]) -> str:
    """Return the two entities of the request as JSON text. ``metadata`` has the declared members and their types.

    Raises:
        MetadataMismatch: one of these members has another type.
    """
    roles = [_uid("Role", role.value) for role in sorted(request.principal.roles)]
    app = {"uid": _uid("App", request.principal.app), "attrs": _app(request.principal), "parents": roles}
    entry = {
        "uid": _entry_uid(request),
        "attrs": _entry(request, metadata),
        "parents": [_uid("Purpose", request.key.purpose)],
    }
    return json.dumps([app, entry])


def _app(principal: Principal) -> dict[str, Any]:
    attributes = {
        "app": principal.app,
        "identity": principal.identity,
        "method": principal.method,
        "purposes": sorted(principal.purposes or ()),
        "all_purposes": principal.purposes is None,
    }
    return _present(attributes)


def _entry(request: AccessRequest, metadata: Mapping[str, str]) -> dict[str, Any]:
    entry = request.entry
    attributes: dict[str, Any] = {
        "purpose": request.key.purpose,
        "external_id": request.key.external_id,
        "owner_app": request.owner_app,
        "retrievals": entry.retrievals if entry else 0,
        "metadata": _metadata(entry.metadata, metadata) if entry else {},
    }
    return attributes | (_of_stored(entry) if entry else {})


def _of_stored(entry: Entry) -> dict[str, Any]:
    attributes = {
        "owner_identity": entry.owner_identity,
        "version": entry.version,
        "value_size": entry.value_size,
        "key_ref": entry.key_ref,
        "algorithm_hint": entry.algorithm_hint,
        "created_at": _datetime(entry.created_at),
        "updated_at": _datetime(entry.updated_at),
        "expires_at": _datetime(entry.expires_at),
    }
    return _present(attributes)


def _metadata(text: str, declared: Mapping[str, str]) -> dict[str, Any]:
    """Return the declared members that are present. Null counts as missing."""
    if not declared:
        return {}
    members: dict[str, Any] = json.loads(text)
    found = {name: members[name] for name in declared if members.get(name) is not None}
    if not all(_FITS[declared[name]](value) for name, value in found.items()):
        raise MetadataMismatch
    return found


def _is_long(value: Any) -> bool:
    return type(value) is int and -_MAX_LONG <= value < _MAX_LONG


def _is_text(value: Any) -> bool:
    return type(value) is str


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "String": _is_text,
    "Long": _is_long,
    "Bool": lambda value: type(value) is bool,
    "Set<String>": lambda value: type(value) is list and all(_is_text(member) for member in value),
    "Set<Long>": lambda value: type(value) is list and all(_is_long(member) for member in value),
}


def _local(at: datetime) -> dict[str, Any]:
    since_midnight = timedelta(hours=at.hour, minutes=at.minute, seconds=at.second, microseconds=at.microsecond)
    return {
        "date": at.date().isoformat(),
        "weekday": _WEEKDAYS[at.weekday()],
        "time": {"__extn": {"fn": "duration", "arg": f"{since_midnight // _MILLISECOND}ms"}},
    }


def _datetime(at: datetime) -> dict[str, Any]:
    text = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"__extn": {"fn": "datetime", "arg": text}}


def _entry_uid(request: AccessRequest) -> dict[str, str]:
    return _uid("Entry", f"{request.key.purpose}/{request.key.external_id}")


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _present(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
