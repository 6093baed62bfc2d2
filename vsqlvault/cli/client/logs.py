"""``log access`` and ``log purge``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from vsqlvault.cli.output import Table, print_json
from vsqlvault.client import Attempt, Vault
from vsqlvault.client.requests import logs
from vsqlvault.client.wire import Page, Request

ACCESS_FILTERS = (
    "operation", "outcome", "status", "purpose", "external_id", "app", "identity", "method", "credential_id", "client_address",
    "reason", "policy", "request_id",
)  # fmt: skip
PURGE_FILTERS = ("purpose", "external_id", "app", "method", "reason", "request_id", "owner_app", "key_ref", "purge_id")
ACCESS_COLUMNS = (
    "at",
    "operation",
    "outcome",
    "status",
    "purpose",
    "external_id",
    "app",
    "identity",
    "reason",
    "request_id",
)
PURGE_COLUMNS = ("purged_at", "purpose", "external_id", "entry_version", "method", "reason", "app", "proof_hash")
FOLLOW_SECONDS = 1.0


class OwnRequests:
    """The ids of the requests that this process made: reading a log writes a row, which following it must not show."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def __call__(self, attempt: Attempt) -> None:
        """Remember the request of an attempt."""
        if attempt.request_id:
            self.ids.add(attempt.request_id)


def access(vault: Vault, options: argparse.Namespace, own: OwnRequests) -> None:
    """Print the access log."""
    _print(vault, options, own, logs.access_log, ACCESS_FILTERS, ACCESS_COLUMNS)


def purge(vault: Vault, options: argparse.Namespace, own: OwnRequests) -> None:
    """Print the purge log."""
    _print(vault, options, own, logs.purge_log, PURGE_FILTERS, PURGE_COLUMNS)


def _print(
    vault: Vault,
    options: argparse.Namespace,
    own: OwnRequests,
    build: Callable[..., Request[Page[Any]]],
    filters: tuple[str, ...],
    columns: tuple[str, ...],
) -> None:
    asked = {name: value for name in filters if (value := getattr(options, name)) is not None}
    table = None if options.json else Table(columns, rows_at_once=1 if options.follow else 200)

    def show(row: Any) -> None:
        print_json(row) if table is None else table.add(row)

    if options.follow:
        since = options.since or datetime.now(UTC)
        for row in followed(vault, build(order="asc", since=since, **asked), own.ids):
            show(row)
        return
    order = "asc" if options.oldest_first else "desc"
    request = build(order=order, since=options.since, until=options.until, **asked)
    for row in islice(_rows(vault, request), options.limit):
        show(row)
    if table is not None:
        table.flush()


def _rows(vault: Vault, request: Request[Page[Any]]) -> Iterator[Any]:
    following: Request[Page[Any]] | None = request
    while following is not None:
        page = vault.send(following)
        yield from page.items
        following = page.next


def followed(
    vault: Vault, request: Request[Page[Any]], own: set[str], *, wait: Callable[[float], object] = time.sleep
) -> Iterator[Any]:
    """Return the rows as they come, without end. A page that is not full is read again, without the rows that were shown."""
    shown = 0
    while True:
        page = vault.send(request)
        yield from (row for row in page.items[shown:] if row.request_id not in own)
        if page.next is None:
            shown = len(page.items)
            wait(FOLLOW_SECONDS)
        else:
            request, shown = page.next, 0
