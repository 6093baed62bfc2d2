"""A page for browsers that a plugin adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Protocol

from vsqlvault.model.principal import Principal, Role
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request for a page: who made it, the members of its query string, and the fields of its form."""

    caller: Principal
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)


class Page(Protocol):
    """One page. The vault signs the caller in, renders the template, sends the headers, and commits the audit row."""

    name: str
    """Lower-case words with hyphens, unique among all pages; the ``detail`` of its audit rows."""

    path: str
    """Its path, such as ``/till/today``: lower-case words between slashes, the first of which no route of the vault has."""

    title: str
    """The title and first heading."""

    template: str
    """The body as a Jinja2 template. Every value is escaped; an unknown variable is an error.

    ``caller`` is the principal. A form has ``<input type="hidden" name="csrf" value="{{ csrf }}">``.
    """

    roles: frozenset[Role] = frozenset()
    """The roles of which a caller needs one; empty: everybody with a credential."""

    accepts_forms: bool = False
    """Whether ``submit`` is called for a form that is sent to the page."""

    async def show(self, request: PageRequest) -> Mapping[str, Any]:
        """Return the variables of the template. It has five seconds, and must not block the event loop.

        If it raises or is late, the answer is 503.
        """
        ...

    async def submit(self, request: PageRequest) -> None:
        """Handle a form, whose origin and token were checked. The page is shown afterwards. Default: nothing happens."""
        del request
