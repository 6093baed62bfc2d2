"""Faults of fields: what was expected, never the value."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vsqlvault.errors import FieldError

MAX_FAULTS = 20
NO_SUCH_FIELD = "unknown field"
Model = TypeVar("Model", bound=BaseModel)


def field_errors(refused: ValidationError) -> list[FieldError]:
    """Return the first faults that a model found."""
    return [
        FieldError(field_path(error["loc"]), _expected(error["type"], error["msg"]))
        for error in refused.errors(include_url=False, include_input=False)[:MAX_FAULTS]
    ]


def field_path(location: tuple[int | str, ...]) -> str:
    """Return the path of a field. An unknown name, which a caller chose, is included only if it is harmless."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    path = "".join(parts).removeprefix(".")
    return path if path.isascii() and path.isprintable() and len(path) <= 128 else "(unprintable)"  # noqa: PLR2004


def _expected(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return NO_SUCH_FIELD
    if kind == "missing":
        return "required"
    message = message.removeprefix("Value error, ")
    for start in ("Input should be a valid ", "Input should be ", "String should ", "Input should "):
        if message.startswith(start):
            return message.removeprefix(start)
    return message
