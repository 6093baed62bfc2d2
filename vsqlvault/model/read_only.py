"""Read-only views of values that plugins are given: nothing that a plugin does to them reaches another caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

Value = TypeVar("Value")


def read_only(value: Value) -> Value:
    """Return the value with every dict in it as a read-only mapping and every list as a tuple.

    Dataclasses are copied where they contain one; other values are returned unchanged.
    """
    view: Any = value
    if isinstance(value, dict):
        view = MappingProxyType({key: read_only(each) for key, each in value.items()})
    elif isinstance(value, list):
        view = tuple(read_only(each) for each in value)
    elif isinstance(value, tuple) and type(value) is tuple:
        old_members: tuple[Any, ...] = value
        new_members = tuple(read_only(each) for each in old_members)
        is_same = all(new is old for new, old in zip(new_members, old_members, strict=True))
        view = value if is_same else new_members
    elif is_dataclass(value) and not isinstance(value, type):
        kept: Any = value
        old = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
        changed = {name: new for name, each in old.items() if (new := read_only(each)) is not each}
        view = replace(kept, **changed) if changed else value
    unchanged: Value = view
    return unchanged


def plain_mapping(value: object) -> dict[Any, Any]:
    """Return a mapping as a dict, for ``json.dumps(default=...)``.

    Raises:
        TypeError: it is not a mapping.
    """
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
