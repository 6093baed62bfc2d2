"""Reads the trace context of a request (W3C Trace Context)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?=$|-)", re.ASCII)
_LENGTH = 55
"""The characters of version 00. A later version may have more after a hyphen, which the vault leaves out."""


def trace_parent(headers: Iterable[tuple[str, str]]) -> str | None:
    """Return the value of ``traceparent``; None if there is none, if there are several, or if it is not valid."""
    values = [value for name, value in headers if name == "traceparent"]
    if len(values) != 1:
        return None
    value = values[0]
    if not _PARENT.match(value) or (value.startswith("00") and len(value) != _LENGTH):
        return None
    return value[:_LENGTH]
