"""Faults of fields: what was expected, never the value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vsqlvault.errors import FieldError
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.errors.wording import expected_by

MAX_FAULTS = 20
Model = TypeVar("Model", bound=BaseModel)


class MemberFault(ValueError):
    """A fault that a validator of a whole model finds in one of its fields."""

    def __init__(self, field: str | tuple[str, ...], expected: str) -> None:
        self.field = (field,) if isinstance(field, str) else field
        self.expected = expected
        super().__init__(expected)


def field_errors(model: type[BaseModel], refused: ValidationError) -> list[FieldError]:
    """Return the first faults that ``model`` found."""
    return [_field_error(model, error) for error in refused.errors(include_url=False, include_input=False)[:MAX_FAULTS]]


def _field_error(model: type[BaseModel], error: ErrorDetails) -> FieldError:
    location, kind = error["loc"], error["type"]
    fault = error.get("ctx", {}).get("error")
    if isinstance(fault, MemberFault):
        return FieldError(field_path((*location, *fault.field)), fault.expected)
    if kind == "extra_forbidden":
        *way, name = location
        return FieldError(field_path(location), unknown_field(str(name), _names_at(model, way)))
    return FieldError(field_path(location), "required" if kind == "missing" else expected_by(error))


def unknown_field(name: str, known: Iterable[str]) -> str:
    """Return what is said of a field that does not exist, with the nearest one that does."""
    return f"unknown field{did_you_mean(name, known)}"


def names_of(model: type[BaseModel]) -> list[str]:
    """Return the fields of a model as a caller writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def field_path(location: tuple[int | str, ...]) -> str:
    """Return the path of a field. An unknown name, which a caller chose, is included only if it is harmless."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    path = "".join(parts).removeprefix(".")
    return path if path.isascii() and path.isprintable() and len(path) <= 128 else "(unprintable)"  # noqa: PLR2004


def _names_at(model: type[BaseModel], way: Iterable[int | str]) -> list[str]:
    """Return the fields of the model that lies inside ``model`` at the end of the way; none where there is no such model."""
    for step in way:
        field = model.model_fields.get(str(step))
        inner = next(_models_in(field.annotation), None) if field else None
        if inner is None:
            return []
        model = inner
    return names_of(model)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models_in(each)
