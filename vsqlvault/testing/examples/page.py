"""Adds a page with a note that everybody reads, and that admins change."""

from collections.abc import Mapping
from typing import Any

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.page import Page, PageRequest


class ExamplePage(Page):
    """Shows a note, and the form to change it."""

    name = "example"
    path = "/example"
    title = "Note"
    template = """<p>{{ note }}</p><form method="post"><input type="hidden" name="csrf" value="{{ csrf }}">
<label>Note <input name="note"></label><button>Save</button></form>"""
    accepts_forms = True
    note = "none yet"

    async def show(self, request: PageRequest) -> Mapping[str, Any]:
        """Return the note."""
        return {"note": self.note}

    async def submit(self, request: PageRequest) -> None:
        """Keep the note of an admin."""
        if request.caller.is_admin:
            self.note = request.form["note"]


@hookimpl
def vault_pages() -> list[Page]:
    """Offer the page."""
    return [ExamplePage()]
