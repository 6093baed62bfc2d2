"""RFC 8785 (JSON Canonicalization Scheme): one value, one sequence of bytes."""

from __future__ import annotations

from typing import Any

import rfc8785


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 form of ``value`` in UTF-8.

    Raises:
        ValueError: for what the form cannot hold: integers beyond 2**53 - 1, NaN, infinities, lone surrogates.
    """
    return rfc8785.dumps(value)
