"""Metadata of an entry: its limits, and its canonical text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vsqlvault.errors import FieldError, MetadataTooLarge
from vsqlvault.proof.canonical import canonical_json

MAX_METADATA_BYTES = 8192
MAX_METADATA_KEYS = 64
MAX_METADATA_KEY = 64
MAX_METADATA_TEXT = 1024


def metadata_text(metadata: dict[str, Any]) -> str:
    """Return the canonical text. Raises MetadataTooLarge beyond a limit."""
    if not metadata:
        return "{}"
    limits = f"at most {MAX_METADATA_BYTES} bytes, {MAX_METADATA_KEYS} keys, keys of 64 characters and strings of 1 KiB"
    fault = FieldError("metadata", limits)
    if len(metadata) > MAX_METADATA_KEYS:
        raise MetadataTooLarge(errors=[fault])
    if _is_flat(metadata):
        quick = canonical_json(metadata).decode("utf-8")
        if len(quick) <= MAX_METADATA_TEXT:  # so it has at most MAX_METADATA_BYTES in UTF-8
            return quick
    text = canonical_within_limit(metadata)
    if text is None or not _small(metadata):
        raise MetadataTooLarge(errors=[fault])
    return text


def _is_flat(metadata: dict[str, Any]) -> bool:
    """Return whether each member is a short name with a short text or a whole number, as most metadata is.

    Its size is limited, so that no part of it is measured before it is written.
    """
    for name, member in metadata.items():
        if len(name) > MAX_METADATA_KEY:
            return False
        if type(member) is not int and not (type(member) is str and len(member) <= MAX_METADATA_TEXT):
            return False
    return True


def canonical_within_limit(value: dict[str, Any]) -> str | None:
    """Return the canonical text, or None if it has more than ``MAX_METADATA_BYTES``.

    A value that is far larger is not read to its end.
    """
    least = 0
    for length in _least_lengths(value):
        least += length
        if least > MAX_METADATA_BYTES:
            return None
    text = canonical_json(value)
    return text.decode("utf-8") if len(text) <= MAX_METADATA_BYTES else None


def _least_lengths(value: Any) -> Iterator[int]:
    """Yield for each node the minimum size of its canonical form, in bytes."""
    if isinstance(value, dict):
        yield len("{}")
        for key, member in value.items():
            yield len(key) + len('"":')
            yield from _least_lengths(member)
    elif isinstance(value, list):
        yield len("[]")
        for member in value:
            yield from _least_lengths(member)
    else:
        yield len(value) + len('""') if isinstance(value, str) else 1


def _small(value: Any) -> bool:
    if isinstance(value, dict):
        return all(len(key) <= MAX_METADATA_KEY and _small(member) for key, member in value.items())
    if isinstance(value, list):
        return all(_small(member) for member in value)
    return not isinstance(value, str) or len(value) <= MAX_METADATA_TEXT
