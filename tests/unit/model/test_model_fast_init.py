"""A value made by the cheaper ``__init__`` is the value that a dataclass makes."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, replace

import pytest

from vsqlvault.model.fast_init import fast_init


@fast_init
@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2


def test_positions_keywords_and_defaults_set_the_fields() -> None:
    assert [(point.x, point.y) for point in (Point(1), Point(1, 3), Point(y=4, x=5))] == [(1, 2), (1, 3), (5, 4)]


@pytest.mark.parametrize("name", ["x", "z", "__class__"])
def test_an_attribute_cannot_be_assigned(name) -> None:
    with pytest.raises((FrozenInstanceError, TypeError)):
        setattr(Point(1), name, 3)


def test_a_value_is_of_its_class_and_equal_to_its_copies() -> None:
    point = Point(1)
    assert type(point) is Point
    assert point == copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == replace(point, y=2)
    assert hash(point) == hash(Point(1, 2))


@pytest.mark.parametrize("arguments", [(), (1, 2, 3)])
def test_a_wrong_number_of_arguments_is_refused(arguments) -> None:
    with pytest.raises(TypeError):
        Point(*arguments)


def test_a_class_with_a_post_init_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Checked:
        x: int

        def __post_init__(self) -> None:
            pass

    with pytest.raises(TypeError, match=r"Checked\.x"):
        fast_init(Checked)
