"""``dataclass`` as in the standard library, for less time at import.

The standard decorator compiles up to seven functions for each class. This one compiles one, ``__init__``. The others are
shared code that reads the fields. Classes behave alike; the constructor of a frozen class is faster.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

_set = object.__setattr__
_FROM_FACTORY: Any = object()
"""The default of a parameter whose field has a factory."""

_MIN_FIELDS_OF_TWIN = 4

if TYPE_CHECKING:
    from dataclasses import dataclass

    __all__ = ["dataclass"]
else:

    def dataclass(cls=None, /, **options):
        """See ``dataclasses.dataclass``."""
        if cls is None:
            return lambda decorated: _made(decorated, **options)
        return _made(cls)


def _made(
    cls: Any,
    *,
    frozen: bool = False,
    slots: bool = False,
    kw_only: bool = False,
    eq: bool = True,
    order: bool = False,
) -> Any:
    if order or any(getattr(base, "__dataclass_params__", _NO_PARAMS).frozen for base in cls.__mro__[1:]):
        return dataclasses.dataclass(cls, frozen=frozen, slots=slots, kw_only=kw_only, eq=eq, order=order)
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # the standard decorator would take long to write one
    has_hash = "__hash__" in cls.__dict__
    cls = dataclasses.dataclass(cls, init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)
    fields = dataclasses.fields(cls)
    members: dict[str, Callable[..., Any]] = {"__init__": _init(cls, fields, frozen=frozen, slots=slots)}
    members["__repr__"] = _repr(tuple(field.name for field in fields if field.repr))
    if eq:
        members["__eq__"] = _eq(tuple(field.name for field in fields if field.compare))
        if not has_hash:
            hashed = [field.name for field in fields if (field.compare if field.hash is None else field.hash)]
            cls.__hash__ = _hash(tuple(hashed)) if frozen else None
    if frozen:
        members |= _frozen(cls, frozenset(field.name for field in fields), slots=slots)
    for name, member in members.items():
        if name not in cls.__dict__:
            setattr(cls, name, member)
    return cls


class _NO_PARAMS:  # noqa: N801 - it stands for the parameters of a class that is no dataclass
    frozen = False


def _init(cls: Any, fields: tuple[Any, ...], *, frozen: bool, slots: bool) -> Callable[..., Any]:
    scope: dict[str, Any] = {"_set": _set, "_factory": _FROM_FACTORY, "_cls": cls}
    parameters: list[str] = ["self"]
    keyword_only: list[str] = []
    values: dict[str, str] = {}
    for field in fields:
        name = field.name
        given, default = name, ""
        if field.default_factory is not MISSING:
            scope[f"_new_{name}"] = field.default_factory
            given, default = (f"_new_{name}() if {name} is _factory else {name}", "=_factory")
        elif field.default is not MISSING:
            scope[f"_default_{name}"] = field.default
            default = f"=_default_{name}"
        elif not field.init:
            continue
        if field.init:
            values[name] = given
            (keyword_only if field.kw_only else parameters).append(name + default)
        else:
            values[name] = f"_new_{name}()" if default == "=_factory" else f"_default_{name}"
    if keyword_only:
        parameters += ["*", *keyword_only]
    body = _assignments(cls, values, scope, frozen=frozen, slots=slots)
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    source = f"def __init__({', '.join(parameters)}):\n  " + "\n  ".join(body or ["pass"])
    exec(source, scope)  # noqa: S102 - the names are those of the fields
    init: Callable[..., Any] = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {**{field.name: field.type for field in fields if field.init}, "return": None}
    return init


def _assignments(cls: Any, values: dict[str, str], scope: dict[str, Any], *, frozen: bool, slots: bool) -> list[str]:
    """Return the lines that set the fields. Plain assignments take less time than ``object.__setattr__``.

    So an instance of a frozen class with many fields is one of an unfrozen class with the same slots for that time. One of
    a subclass is not, because the subclass may have attributes of its own.
    """
    if not frozen:
        return [f"self.{name} = {value}" for name, value in values.items()]
    if not (slots and cls.__bases__ == (object,) and len(values) >= _MIN_FIELDS_OF_TWIN):
        return [f"_set(self, {name!r}, {value})" for name, value in values.items()]
    scope["_twin"] = type(f"_{cls.__name__}Twin", (), {"__slots__": cls.__dict__["__slots__"]})
    scope["_names"] = tuple(values)
    return [
        "if type(self) is _cls:",
        "  _set(self, '__class__', _twin)",
        *(f"  self.{name} = {value}" for name, value in values.items()),
        "  self.__class__ = _cls",
        "else:",
        f"  for _name, _value in zip(_names, ({', '.join(values.values())},)):",
        "    _set(self, _name, _value)",
    ]


def _repr(names: tuple[str, ...]) -> Callable[..., str]:
    @recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807
        return f"{type(self).__qualname__}({', '.join([f'{name}={getattr(self, name)!r}' for name in names])})"

    return __repr__


def _values(names: tuple[str, ...]) -> Callable[[Any], Any]:
    """Return a function that returns the values of the fields, in a form that can be compared and hashed."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda owner: tuple([getattr(owner, name) for name in names])


def _eq(names: tuple[str, ...]) -> Callable[..., Any]:
    values = _values(names)

    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(names: tuple[str, ...]) -> Callable[..., int]:
    values = _values(names)

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    return __hash__


def _frozen(cls: Any, names: frozenset[str], *, slots: bool) -> dict[str, Callable[..., Any]]:
    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    members: dict[str, Callable[..., Any]] = {"__setattr__": __setattr__, "__delattr__": __delattr__}
    return {**members, "__getstate__": _state, "__setstate__": _set_state} if slots else members


def _state(self: Any) -> list[Any]:
    """Return the values of the fields, for copies."""
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        _set(self, field.name, value)
