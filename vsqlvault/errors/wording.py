"""What a validator expected, in plain words: the same for settings, bodies and queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PATTERNS: dict[str, str] = {}
_STARTS = (
    "Input should be a valid ", "Input should be ", "Input should have ", "Input should ", "String should have ",
    "String should ",
)  # fmt: skip


def worded(pattern: str, words: str) -> str:
    """Return the pattern of a field, and record what it asks for: an error shows these words."""
    _PATTERNS[pattern] = words
    return pattern


def expected_by(error: Mapping[str, Any], mapping: str = "an object") -> str:
    """Return what was expected where pydantic found this error. ``mapping`` is the word for one of names and values."""
    kind, context, message = error["type"], error.get("ctx", {}), str(error["msg"])
    if kind == "string_pattern_mismatch" and (words := _PATTERNS.get(context["pattern"])):
        return words
    if kind in {"dict_type", "mapping_type", "model_type", "model_attributes_type"}:
        return mapping
    if kind in {"too_short", "too_long"}:
        bound, name = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        return f"{bound} {context[name]} {'item' if context[name] == 1 else 'items'}"
    message = message.removeprefix("Value error, ")
    start = next((each for each in _STARTS if message.startswith(each)), "")
    return message.removeprefix(start)
