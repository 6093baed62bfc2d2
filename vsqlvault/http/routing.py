"""Matches a request's method and path to an operation. Quart and the fast path both use it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vsqlvault.errors import MethodNotAllowed, NoSuchRoute, VaultError
from vsqlvault.http.operation import SEVERAL_SEGMENTS, Operation

ENTRY_PATH = "/vault/{purpose}/{external_id}"
_ENTRY = re.compile(rb"/vault/([a-z0-9][a-z0-9_-]{0,63})/([A-Za-z0-9][A-Za-z0-9._:@~-]{0,255})")
_PARAMETER = re.compile(r"\{(\w+)\}")


class Match(NamedTuple):
    """The operation of a path and its parameters, or the error where there is none."""

    operation: Operation | None
    params: Mapping[str, str]
    refusal: VaultError | None = None


class Router:
    """The routes of the API, the most specific first."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        routes: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            routes.setdefault(operation.path, {})[operation.method] = operation
        self._entry = routes[ENTRY_PATH]
        self._routes = [(_pattern(path), routes[path]) for path in sorted(routes, key=_specificity)]

    def entry(self, method: str, raw_path: bytes) -> tuple[Operation, Mapping[str, str]] | None:
        """Return the operation on an entry, if the path is one of an entry and matches the grammar of its parameters."""
        operation = self._entry.get(method)
        match = _ENTRY.fullmatch(raw_path) if operation is not None else None
        if operation is None or match is None:
            return None
        purpose, external_id = match.groups()
        return operation, {"purpose": purpose.decode("ascii"), "external_id": external_id.decode("ascii")}

    def find(self, method: str, raw_path: bytes) -> Match:
        """Return the operation of any path. The grammar of the parameters is not checked."""
        if not raw_path.isascii() or b"%" in raw_path:
            return Match(None, {}, NoSuchRoute())
        path = raw_path.decode("ascii")
        for pattern, operations in self._routes:
            if match := pattern.fullmatch(path):
                operation = operations.get(method)
                if operation is None:
                    return Match(None, match.groupdict(), MethodNotAllowed(", ".join(operations)))
                return Match(operation, match.groupdict())
        return Match(None, {}, NoSuchRoute())


def _pattern(path: str) -> re.Pattern[str]:
    """Return the expression of a path in the form of OpenAPI. A parameter is one segment, or the rest of the path."""
    parts = _PARAMETER.split(path)
    names = parts[1::2]
    texts = [re.escape(text) for text in parts[::2]]
    groups = [f"(?P<{name}>[^/].*)" if name in SEVERAL_SEGMENTS else f"(?P<{name}>[^/]+)" for name in names]
    return re.compile("".join(text + group for text, group in zip(texts, [*groups, ""], strict=True)))


def _specificity(path: str) -> list[tuple[int, str]]:
    """Sort literal segments before parameters, and those before the rest of a path."""
    order = []
    for segment in path.split("/"):
        name = _PARAMETER.search(segment)
        order.append((0 if name is None else 2 if name[1] in SEVERAL_SEGMENTS else 1, segment))
    return order
