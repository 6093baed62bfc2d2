"""Names the settings that differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from vsqlvault.config.settings import Settings

_ABSENT = object()


def changed_keys(before: Settings, after: Settings) -> list[str]:
    """Return the keys with other values, such as ``auth.api_keys``, in order. A list of tables is one key."""
    return sorted(set(_differing("", before, after)))


def _differing(place: str, before: Any, after: Any) -> list[str]:
    one, other = _members(before), _members(after)
    if one is None or other is None:
        return [place] if before != after else []
    found: list[str] = []
    for name in one.keys() | other.keys():
        key = f"{place}.{name}" if place else name
        found += _differing(key, one.get(name, _ABSENT), other.get(name, _ABSENT))
    return found


def _members(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return {**fields, **(value.model_extra or {})}
    return value if isinstance(value, Mapping) else None
