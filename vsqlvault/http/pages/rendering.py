"""Renders templates: every value is escaped, and a template cannot reach Python."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from vsqlvault.http.messages import Reply

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

_OWN = ("layout.html", "sign_in.html", "sessions.html", "problem.html")
_FOLDER = files("vsqlvault.http.pages")
_STYLE = _FOLDER.joinpath("pages.css").read_text("utf-8")


def style_source(style: str) -> str:
    """Return the source of a Content-Security-Policy that allows one style element, by its hash."""
    return f"'sha256-{b64encode(hashlib.sha256(style.encode('utf-8')).digest()).decode('ascii')}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {style_source(_STYLE)}; img-src data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
PAGE_HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Renderer:
    """Renders the vault's templates, and those of plugins by name."""

    def __init__(self, templates: Mapping[str, str] | None = None) -> None:
        """Compile the templates. Raises jinja2.TemplateError: one is invalid."""
        self._templates = templates or {}
        for name in templates or ():
            self._environment.get_template(name)

    @cached_property
    def _environment(self) -> ImmutableSandboxedEnvironment:
        from jinja2 import DictLoader, StrictUndefined  # noqa: PLC0415 - only pages need it, and it takes long to import
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

        own = {name: _FOLDER.joinpath(name).read_text("utf-8") for name in _OWN}
        loader = DictLoader({**self._templates, **own})
        return ImmutableSandboxedEnvironment(loader=loader, autoescape=True, undefined=StrictUndefined)

    def reply(self, name: str, title: str, variables: Mapping[str, Any], status: int = 200) -> Reply:
        """Return a page. ``csrf`` and ``caller`` are the token of its forms and who is signed in, if anybody is.

        Raises:
            jinja2.TemplateError, and whatever a value raises.
        """
        from markupsafe import Markup  # noqa: PLC0415

        fixed = {"csrf": None, "caller": None, **variables, "title": title, "style": Markup(_STYLE)}  # noqa: S704 - our file
        text = self._environment.get_template(name).render(fixed)
        return Reply(status, text.encode("utf-8"), "text/html; charset=utf-8", list(PAGE_HEADERS))
