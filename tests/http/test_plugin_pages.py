"""Pages of plugins: signed in, audited, escaped, and contained."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vsqlvault.errors import PluginUnusable
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.http.operations.plugin_pages import page_operations
from vsqlvault.interfaces.page import Page
from vsqlvault.model.principal import Role
from vsqlvault.testing.running import running_vault
from vsqlvault.testing.vaults import offering

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><b>",
    "{{ 7*7 }}",
    "{% include 'x' %}",
    "\u202e&lt;",
    "javascript:alert(1)",
)


class Sample(Page):
    """Shows what it was given."""

    name = "sample"
    path = "/sample"
    title = "Sample"
    template = '<p title="{{ text }}">{{ text }}</p>'

    def __init__(self, text: Any = "good", **changed: Any) -> None:
        self.text = text
        for name, value in changed.items():
            setattr(self, name, value)

    async def show(self, request: Any) -> Any:
        if isinstance(self.text, Exception):
            raise self.text
        return {"text": self.text}


def answer_of(
    tmp_path: Any, page: Page, app: str | None = "payments", path: str = "/sample", method: str = "GET"
) -> Any:
    with running_vault(tmp_path, plugins=[offering("vault_pages", page)]) as (_, client):
        answer = client.request(method, path, app=app)
        rows = client.request("GET", "/admin/access-log?operation=read-page", app="auditor").json
    return answer, next(value for value in rows.values() if isinstance(value, list))


def test_a_page_is_shown_and_leaves_a_row(tmp_path: Any) -> None:
    answer, rows = answer_of(tmp_path, Sample())
    assert (answer.status, b'<p title="good">good</p>' in answer.body) == (200, True)
    assert [(row["detail"], row["outcome"], row["app"]) for row in rows] == [("sample", "granted", "payments")]
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-frame-options"], headers["cache-control"]) == ("DENY", "no-store")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_every_kind_is_inert(tmp_path: Any, text: str) -> None:
    answer, _ = answer_of(tmp_path, Sample(text))
    body = answer.body.decode()
    assert "<script" not in body
    assert "<b>" not in body
    assert "49" not in body.partition("<main>")[2]
    assert answer.status == 200


def test_a_page_without_a_credential_is_refused(tmp_path: Any) -> None:
    answer, rows = answer_of(tmp_path, Sample(), app=None)
    assert (answer.status, rows) == (401, [])


def test_a_caller_without_the_role_is_refused_with_a_row(tmp_path: Any) -> None:
    answer, rows = answer_of(tmp_path, Sample(roles=frozenset({Role.ADMIN})))
    assert answer.status == 403
    assert [(row["outcome"], row["reason"]) for row in rows] == [("denied", "role")]


@pytest.mark.parametrize("text", [ValueError("secret"), asyncio.CancelledError()], ids=["error", "cancelled"])
def test_a_page_that_raises_is_answered_503(tmp_path: Any, text: Any) -> None:
    page = Sample(text) if isinstance(text, Exception) else Sample(template="{{ unknown }}")
    answer, rows = answer_of(tmp_path, page)
    assert answer.status == 503
    assert b"secret" not in answer.body
    assert [row["outcome"] for row in rows] == ["denied"]


def test_a_form_without_a_session_is_refused(tmp_path: Any) -> None:
    answer, _ = answer_of(tmp_path, Sample(accepts_forms=True), method="POST")
    assert answer.status == 403


def test_a_page_without_forms_has_no_post(tmp_path: Any) -> None:
    answer, _ = answer_of(tmp_path, Sample(), method="POST")
    assert answer.status == 405


@pytest.mark.parametrize("path", ["/vault/x", "/admin/x", "/sign-in/x", "/", "//x", "/A", "/x/", "x", "/{purpose}"])
def test_a_page_cannot_take_a_path_of_the_vault(path: str) -> None:
    with pytest.raises(PluginUnusable):
        page_operations([Sample(path=path)], OPERATIONS)


@pytest.mark.parametrize("template", ["{% if %}", "{{ ", "{% endblock %}{% endblock %}"])
def test_an_invalid_template_stops_the_start(template: str) -> None:
    with pytest.raises(PluginUnusable, match="template"):
        page_operations([Sample(template=template)], OPERATIONS)


def test_two_pages_cannot_have_one_path() -> None:
    with pytest.raises(PluginUnusable):
        page_operations([Sample(), Sample(name="other")], OPERATIONS)


def test_a_template_cannot_reach_python(tmp_path: Any) -> None:
    answer, _ = answer_of(tmp_path, Sample(template="{{ text.__class__.__mro__ }}"))
    assert answer.status == 503
