"""Whose tables they are, and who serves from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who owns the schema and who serves from it, where those are to be two; None: whoever connects."""

    owner: str | None = None
    runtime: str | None = None
