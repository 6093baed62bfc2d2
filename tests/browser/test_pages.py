"""Signing in and out, reading and printing, with Chromium."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import REPORT, Visitor
from vsqlvault.http.sessions import COOKIE, Sessions

PATHS = ("/sign-in", "/sessions", "/docs", REPORT, f"{REPORT}&as_of=x")
HOSTILE = (
    "<script>document.title='hit'</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><b class=hit>bold</b>",
    "{{ 7*7 }}{% raw %}",
    "&lt;i&gt;</td></tr></table><h1>hit</h1>",
    "javascript:alert(1)",
    "<style>body{display:none}</style>",
)


def test_the_report_is_read_and_printed_after_signing_in(visitor: Visitor) -> None:
    visitor.sign_in_as("auditor")
    assert visitor.heading() == "Compliance report"
    assert len(re.findall(rb"/Type\s*/Page\b", visitor.page.pdf())) > 1
    assert (visitor.errors, visitor.strangers) == ([], [])


def test_a_browser_signs_out(visitor: Visitor) -> None:
    visitor.sign_in_as("auditor", "/sessions")
    assert visitor.heading() == "Sessions"
    visitor.press("Sign out")
    assert visitor.heading() == "Sign in"
    visitor.page.goto("/docs")
    assert visitor.heading() == "Sign in"
    assert (visitor.errors, visitor.strangers) == ([], [])


def test_a_wrong_key_is_refused_in_words(visitor: Visitor) -> None:
    visitor.sign_in("no-such-key")
    assert "not accepted" in visitor.page.get_by_role("alert").inner_text()
    visitor.page.goto(REPORT)
    assert visitor.heading() == "Sign in"


def test_an_expired_session_leads_to_sign_in(visitor: Visitor) -> None:
    visitor.sign_in_as("auditor", "/docs")
    ((secret,),) = visitor.server.query(sqlite="SELECT value FROM secrets WHERE name = 'session'", postgresql="")
    sessions, now = Sessions(secret), datetime.now(UTC)
    (cookie,) = [each for each in visitor.context.cookies() if each["name"] == COOKIE]
    session = sessions.open(cookie["value"], now)
    earlier = sessions.cookie(session, now - timedelta(minutes=16))[1].partition(";")[0].partition("=")[2]
    set_cookie = {"name": COOKIE, "value": earlier, "url": visitor.origin, "path": "/", "secure": True}
    assert visitor.context.new_cdp_session(visitor.page).send("Network.setCookie", set_cookie)["success"]
    visitor.page.goto("/docs")
    assert visitor.heading() == "Sign in"
    assert visitor.server.rows(f"reason=session_expired&credential_id={session.credential_id}")


def test_a_form_with_another_token_is_refused_with_a_page(visitor: Visitor) -> None:
    visitor.sign_in_as("auditor", "/sessions")
    visitor.page.locator("form[action='/sign-out'] input[name=csrf]").evaluate("field => field.value = '0'.repeat(64)")
    assert visitor.press("Sign out").status == 403
    assert "not sent by a page of this vault" in visitor.heading()
    visitor.page.goto("/sessions")
    assert visitor.heading() == "Sessions"


def test_a_form_of_another_site_is_refused(visitor: Visitor, new_visitor: Callable[..., Visitor]) -> None:
    visitor.sign_in_as("auditor", "/sessions")
    token = visitor.page.locator("form[action='/sign-out'] input[name=csrf]").input_value()
    form = f"<form method=post action='{visitor.origin}/sign-out'><input name=csrf value={token}><button>Go</button></form>"
    other = f"http://127.0.0.1:{visitor.server.address[1]}/health"
    visitor.page.route(other, lambda route: route.fulfill(body=form, content_type="text/html"))
    visitor.page.goto(other)
    assert visitor.press("Go").status == 401  # the browser does not send the cookie
    visitor.page.goto("/sessions")
    assert visitor.heading() == "Sessions"


def test_a_refused_report_is_a_page_with_a_way_out(visitor: Visitor) -> None:
    visitor.sign_in_as("payments")
    assert visitor.heading() == "The caller does not have the role that this route requires"
    visitor.press("Sign out")
    assert visitor.heading() == "Sign in"


def test_the_cookie_is_out_of_reach_of_scripts(visitor: Visitor) -> None:
    visitor.sign_in_as("auditor", "/sessions")
    (cookie,) = [each for each in visitor.context.cookies() if each["name"] == COOKIE]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    assert f"{COOKIE}=" not in visitor.page.evaluate("document.cookie")


def test_stored_text_of_every_kind_is_inert(visitor: Visitor) -> None:
    server = visitor.server
    policy = {
        "max_retention_days": 30, "purge_method": "physical-delete", "justification": HOSTILE[0], "legal_basis": HOSTILE[1],
        "data_class": HOSTILE[2],
    }  # fmt: skip
    assert server.call("operator", "PUT", "/admin/retention-policies/ach", json_body=policy).status == 200
    for number, text in enumerate(HOSTILE):
        fields = {"algorithm_hint": text[:64], "key_ref": text, "metadata": {text: text}}
        server.stored("other", f"ach/hostile-{number}", **fields)
        hold = {"case_reference": text, "reason": text, "selector": {"purpose": "ach"}}
        assert server.call("operator", "PUT", f"/admin/legal-holds/hostile-{number}", json_body=hold).status == 201
    key = {"app": "reader", "roles": ["auditor"], "purposes": [], "identity": HOSTILE[2]}
    created = server.call("operator", "POST", "/admin/api-keys", json_body=key)
    assert created.status == 201
    visitor.sign_in(created.json["key"])
    assert visitor.heading() == "Compliance report"
    text = visitor.page.locator("main").inner_text()
    assert not [each for each in HOSTILE if each[:64] not in text]
    visitor.page.goto("/sessions")
    assert HOSTILE[2] in visitor.page.locator("table").inner_text()
    assert visitor.page.locator(".hit, script, img").count() == 0
    assert (visitor.errors, visitor.strangers, visitor.page.locator("h1").count()) == ([], [], 1)


@pytest.fixture
def axe(new_visitor: Callable[..., Visitor]) -> Callable[..., list[str]]:
    """Return what axe-core finds wrong with a page of an auditor who has signed in."""
    carrier = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    source = Path(carrier.__file__).with_name("axe.min.js").read_text("utf-8")

    def violations(path: str, rules: Any, **options: Any) -> list[str]:
        visitor = new_visitor(
            bypass_csp=True, **options
        )  # the policy of the report disables scripts, also those of tests
        visitor.sign_in_as("auditor", "/sessions")
        visitor.page.goto(path)
        found = "r.violations.flatMap(v => v.nodes.map(n => v.id + ': ' + n.html.slice(0, 300)))"
        run = f"axe.run({json.dumps(rules)}).then(r => {found})"
        return list(visitor.page.evaluate(f"() => {{ {source}; return {run}; }}"))

    return violations


@pytest.mark.parametrize("path", PATHS)
def test_no_rule_of_accessibility_is_broken(axe: Callable[..., list[str]], path: str) -> None:
    assert axe(path, {}) == []


@pytest.mark.parametrize("path", PATHS)
def test_colours_contrast_in_the_dark(axe: Callable[..., list[str]], path: str) -> None:
    assert axe(path, {"runOnly": ["color-contrast"]}, color_scheme="dark") == []
