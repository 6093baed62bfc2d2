"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from vsqlvault.client.decoding import read
from vsqlvault.client.wire import Answer, Page, Repeat, Request, members_of, query_of

Item = TypeVar("Item")
MAX_PAGE = 1000


def listed(
    kind: type[Item],
    member: str,
    route: str,
    path: str,
    filters: Mapping[str, Any],
    *,
    page_size: int | None = MAX_PAGE,
) -> Request[Page[Item]]:
    """Return the request for the first page of a list; each page has the request for the next one.

    ``next_cursor`` carries the filters, ``next_before`` does not.
    """

    def parse(answer: Answer) -> Page[Item]:
        document = answer.document()
        items = tuple(read(kind, each, answer) for each in members_of(document, member, answer))
        following = None
        if cursor := document.get("next_cursor"):
            following = listed(kind, member, route, path, {"cursor": cursor}, page_size=page_size)
        elif before := document.get("next_before"):
            following = listed(kind, member, route, path, {**filters, "before": before}, page_size=page_size)
        return Page(items, following)

    return Request("GET", route, path + query_of(**filters, limit=page_size), parse, Repeat.READ)
