"""A class of the quick decorator behaves like one of the standard decorator."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2


@dataclass(frozen=True, slots=True)
class Wide:
    a: int
    b: int
    c: int
    d: int = 4


def made(decorate: Callable[..., Any], **options: Any) -> list[Any]:
    """Return classes with every kind of field, under one of the two decorators."""

    @decorate(**options)
    class Plain:
        a: int
        b: str = "b"

    @decorate(**options)
    class Single:
        a: float

    @decorate(**options)
    class Empty:
        pass

    @decorate(**options)
    class Mixed:
        kind: ClassVar[str] = "mixed"
        a: int
        items: list[int] = dataclasses.field(default_factory=list)
        secret: str = dataclasses.field(default="s", repr=False, compare=False)
        _: dataclasses.KW_ONLY
        late: int = 7

    @decorate(**options)
    class Derived(Plain):
        c: int = 3

    @decorate(**options)
    class Checked:
        a: int

        def __post_init__(self) -> None:
            if self.a < 0:
                raise ValueError("a")

        def __repr__(self) -> str:
            return "checked"

        def __hash__(self) -> int:
            return 1

    return [Plain, Single, Empty, Mixed, Derived, Checked]


OPTIONS = (
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "kw_only": True},
    {"frozen": True},
    {"slots": True},
    {},
    {"frozen": True, "slots": True, "eq": False},
    {"frozen": True, "slots": True, "order": True},
)
CALLS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    ((), {}), ((1,), {}), ((-1,), {}), ((), {"a": 1}), ((1, "c"), {}), ((1,), {"b": "c"}), ((1, [2]), {"late": 8}),
    ((1, "b", 3, 4, 5), {}), ((), {"a": 1, "unknown": 2}), ((1,), {"secret": "t"}), ((1,), {"a": 1}),
)  # fmt: skip


def seen(call: Callable[[], Any]) -> Any:
    """Return what a call returns or raises, in a form that two classes of one name have in common."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - it is compared
        return type(error), str(error)


def behaviour(cls: Any) -> list[Any]:
    """Return all that is to be the same under both decorators."""
    found: list[Any] = [
        cls.__match_args__, cls.__dict__.get("__slots__"), [field.name for field in dataclasses.fields(cls)],
        list(inspect.signature(cls).parameters),
    ]  # fmt: skip
    first = next((field.name for field in dataclasses.fields(cls)), "")
    for positional, named in CALLS:
        found.append(seen(lambda p=positional, n=named: repr(cls(*p, **n))))
        if (value := seen(lambda p=positional, n=named: cls(*p, **n))).__class__ is not cls:
            continue
        other = cls(*positional, **named)
        found += [
            value == other, value == copy.copy(value), value == copy.deepcopy(value), value == 1,
            seen(lambda v=value, o=other: hash(v) == hash(o)), seen(lambda v=value: setattr(v, first, 9) if first else None),
            seen(lambda v=value: delattr(v, first) if first else None),
            seen(lambda v=value: repr(dataclasses.replace(v))), seen(lambda v=value: dataclasses.asdict(v)),
        ]  # fmt: skip
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_behaves_like_the_standard_one(options: dict[str, Any]) -> None:
    for quick, standard in zip(made(dataclass, **options), made(dataclasses.dataclass, **options), strict=True):
        assert behaviour(quick) == behaviour(standard), quick.__name__


class Extended(Wide):
    """It has a dictionary, and no decorator."""


class Narrow(Wide):
    __slots__ = ()


@pytest.mark.parametrize("cls", [Extended, Narrow])
def test_an_instance_of_a_subclass_keeps_its_class(cls: type[Wide]) -> None:
    value = cls(1, 2, 3)
    assert type(value) is cls
    assert (value.a, value.b, value.c, value.d) == (1, 2, 3, 4)


@pytest.mark.parametrize("name", ["a", "z", "__class__"])
def test_an_attribute_of_a_frozen_value_cannot_be_assigned(name: str) -> None:
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(Wide(1, 2, 3), name, 3)


def test_a_value_is_of_its_class_and_equal_to_its_copies() -> None:
    for value in (Point(1), Wide(1, 2, 3)):
        assert type(value) in {Point, Wide}
        assert value == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == dataclasses.replace(value)


def test_an_unknown_attribute_of_a_frozen_value_cannot_be_assigned() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):  # the standard one with slots raises another error by mistake
        Wide(1, 2, 3).unknown = 9  # type: ignore[attr-defined]


def test_a_value_that_contains_itself_can_be_shown() -> None:
    @dataclass(slots=True)
    class Knot:
        end: Any = None

    knot = Knot()
    knot.end = knot
    assert repr(knot).endswith("Knot(end=...)")


def test_a_subclass_without_fields_may_have_attributes_of_its_own() -> None:
    @dataclass(frozen=True)
    class Fixed:
        a: int

    class Open(Fixed):
        pass

    value = Open(1)
    value.b = 2  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.a = 2  # type: ignore[misc]
    assert value.b == 2  # type: ignore[attr-defined]
