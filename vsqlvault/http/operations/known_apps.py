"""Warnings for apps that no credential names."""

from __future__ import annotations

from collections.abc import Iterable

from vsqlvault.errors.suggestions import undefined
from vsqlvault.http.operation import RequestContext


def undefined_apps(exchange: RequestContext, apps: Iterable[str]) -> tuple[str, ...]:
    """Return a warning for each app that no credential names; none where tokens may name any app."""
    known = exchange.vault.credentials.inventory.known_apps()
    return () if known is None else undefined("app", apps, known, "no credential names it")
