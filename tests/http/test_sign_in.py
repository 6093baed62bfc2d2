"""Signing in with a browser: the cookie, its limits, the forms, and what a page of another site cannot do."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from tests.support.server import VaultServer
from tests.support.wire import Answer
from vsqlvault.errors import CredentialRefused
from vsqlvault.http.sessions import COOKIE, FORM_COOKIE, Session, Sessions, new_form_cookie

Start = Callable[..., VaultServer]
HTML = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin", **HTML}
REPORT = "/compliance/report?format=html"


@pytest.fixture
def server(another_vault: Start) -> VaultServer:
    return another_vault()


def cookies_of(answer: Answer) -> dict[str, str]:
    found = [value for name, value in answer.headers if name.lower() == "set-cookie"]
    return dict(each.partition(";")[0].partition("=")[::2] for each in found)


def token_of(page: Answer) -> str:
    found = re.search(rb'name="csrf" value="([0-9a-f]{64})"', page.body)
    assert found, page
    return found[1].decode()


def send(server: VaultServer, path: str, cookie: str, fields: dict[str, str], **headers: str) -> Answer:
    sent = {**FORM, "Cookie": cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
    sent = {name: value for name, value in sent.items() if value}
    return server.call(None, "POST", path, headers=sent, body=urlencode(fields).encode())


def sign_in(server: VaultServer, app: str = "operator", key: str | None = None, **fields: str) -> Answer:
    page = server.call(None, "GET", "/sign-in", headers=HTML)
    cookie = f"{FORM_COOKIE}={cookies_of(page)[FORM_COOKIE]}"
    form = {"csrf": token_of(page), "kind": "key", "credential": key or server.apps[app].key, **fields}
    return send(server, "/sign-in", cookie, form)


def session_of(server: VaultServer, app: str = "operator") -> str:
    answer = sign_in(server, app)
    assert answer.status == 303, answer
    return f"{COOKIE}={cookies_of(answer)[COOKIE]}"


def get(server: VaultServer, path: str, cookie: str) -> Answer:
    return server.call(None, "GET", path, headers={**HTML, "Cookie": cookie})


def rows(server: VaultServer, **equals: str) -> list[dict[str, object]]:
    query = urlencode(equals)
    answer = server.call("auditor", "GET", f"/admin/access-log?{query}")
    assert answer.status == 200, answer
    return list(next(value for value in answer.json.values() if isinstance(value, list)))


@pytest.mark.parametrize("path", ["/docs", REPORT, "/sessions", "/"])
def test_a_browser_without_a_session_is_sent_to_sign_in(server: VaultServer, path: str) -> None:
    answer = server.call(None, "GET", path, headers=HTML)
    assert answer.status == 303
    assert (answer.header("location") or "").startswith("/sign-in?next=/")


@pytest.mark.parametrize("path", ["/docs", "/compliance/report"])
def test_an_api_client_without_a_credential_gets_401(server: VaultServer, path: str) -> None:
    answer = server.call(None, "GET", path)
    assert (answer.status, answer.slug) == (401, "unauthenticated")


@pytest.mark.parametrize("path", ["/docs", REPORT, "/sessions"])
def test_a_session_opens_the_pages(server: VaultServer, path: str) -> None:
    answer = get(server, path, session_of(server))
    assert answer.status == 200
    assert b"unsafe-inline" not in (answer.header("content-security-policy") or "").encode()
    assert "frame-ancestors 'none'" in (answer.header("content-security-policy") or "")
    assert answer.header("cache-control") == "no-store"


def test_the_cookie_has_the_flags_of_the_contract(server: VaultServer) -> None:
    (field,) = [value for name, value in sign_in(server).headers if name.lower() == "set-cookie"]
    assert field.startswith("__Host-vsqlvault=")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=900"} <= set(field.split("; "))
    assert "Domain" not in field
    assert server.apps["operator"].key not in field


def test_a_cookie_has_at_most_4096_bytes(server: VaultServer) -> None:
    sessions = Sessions(b"s" * 32)
    now = datetime.now(UTC)
    longest = Session("a" * 32, "authorization", "Bearer " + "t" * 2048, "c" * 256, now, now)
    assert len(sessions.cookie(longest, now)[1].partition(";")[0]) <= 4096
    assert sign_in(server, key="k" * 2049).status == 422


def test_a_session_does_not_open_the_api(server: VaultServer) -> None:
    cookie = session_of(server, "payments")
    answer = server.call(None, "GET", "/vault/card/sign-in-1", headers={"Cookie": cookie})
    assert (answer.status, answer.slug) == (401, "unauthenticated")


def test_a_session_has_only_the_rights_of_its_credential(server: VaultServer) -> None:
    assert get(server, REPORT, session_of(server, "payments")).status == 403


def test_a_wrong_key_is_refused_and_recorded(server: VaultServer) -> None:
    answer = sign_in(server, key="no-such-key")
    assert answer.status == 401
    assert COOKIE not in cookies_of(answer)
    assert b"not accepted" in answer.body
    assert b"no-such-key" not in answer.body
    assert rows(server, operation="authenticate", outcome="denied")


def test_failed_sign_ins_are_limited(another_vault: Start) -> None:
    server = another_vault(settings="[auth]\nmax_failures_per_minute = 2\n")
    statuses = [sign_in(server, key=f"wrong-{number}").status for number in range(4)]
    assert statuses == [401, 401, 429, 429]


def test_signing_in_and_out_are_rows(server: VaultServer) -> None:
    cookie = session_of(server)
    page = get(server, "/sessions", cookie)
    assert send(server, "/sign-out", cookie, {"csrf": token_of(page)}).status == 303
    (begun,) = rows(server, operation="sign-in", outcome="granted")
    (ended,) = rows(server, operation="sign-out", outcome="granted")
    assert ended["detail"] == begun["request_id"]
    assert begun["app"] == ended["app"] == "operator"
    assert server.apps["operator"].key not in server.log_file.read_text()


def test_the_cookie_of_an_ended_session_is_refused(server: VaultServer) -> None:
    cookie = session_of(server)
    send(server, "/sign-out", cookie, {"csrf": token_of(get(server, "/sessions", cookie))})
    answer = get(server, "/docs", cookie)
    assert answer.status == 303
    assert cookies_of(answer)[COOKIE] == ""
    assert rows(server, reason="session_ended")


def test_each_sign_in_has_a_new_session_and_ends_the_old_one(server: VaultServer) -> None:
    old = session_of(server)
    page = server.call(None, "GET", "/sign-in", headers=HTML)
    cookie = f"{FORM_COOKIE}={cookies_of(page)[FORM_COOKIE]}; {old}"
    form = {"csrf": token_of(page), "kind": "key", "credential": server.apps["operator"].key}
    new = f"{COOKIE}={cookies_of(send(server, '/sign-in', cookie, form))[COOKIE]}"
    assert get(server, "/docs", old).status == 303
    assert get(server, "/docs", new).status == 200


@pytest.mark.parametrize("value", ["", "x", "a.b.c.d.e", "eyJhbGciOiJub25lIn0..AAAA.BBBB.CCCC"])
def test_a_forged_cookie_is_refused(server: VaultServer, value: str) -> None:
    assert get(server, "/docs", f"{COOKIE}={value}").status == 303
    assert rows(server, reason="session_invalid")


def test_a_cookie_without_the_prefix_is_ignored(server: VaultServer) -> None:
    assert get(server, "/docs", session_of(server).removeprefix("__Host-")).status == 303


def test_two_session_cookies_are_refused(server: VaultServer) -> None:
    cookie = session_of(server)
    assert get(server, "/docs", f"{cookie}; {cookie}").status == 303


@pytest.mark.parametrize("token", ["", "0" * 64, "other"])
def test_a_form_without_the_token_of_its_session_is_refused(server: VaultServer, token: str) -> None:
    cookie = session_of(server)
    if token == "other":
        token = token_of(get(server, "/sessions", session_of(server, "auditor")))
    answer = send(server, "/sign-out", cookie, {"csrf": token} if token else {})
    assert answer.status == 403
    assert get(server, "/docs", cookie).status == 200
    assert rows(server, operation="sign-out", outcome="denied", reason="form_refused")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": ""},
        {"Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "", "Origin": "null"},
    ],
)
def test_a_form_from_another_site_is_refused(server: VaultServer, headers: dict[str, str]) -> None:
    cookie = session_of(server)
    answer = send(server, "/sign-out", cookie, {"csrf": token_of(get(server, "/sessions", cookie))}, **headers)
    assert answer.status == 403
    assert get(server, "/docs", cookie).status == 200


def test_no_other_site_can_sign_a_browser_in(server: VaultServer) -> None:
    other = f"{FORM_COOKIE}={new_form_cookie()[0]}"
    page = server.call(None, "GET", "/sign-in", headers=HTML)
    form = {"csrf": token_of(page), "kind": "key", "credential": server.apps["operator"].key}
    for cookie in (other, "x=1"):
        answer = send(server, "/sign-in", cookie, form)
        assert (answer.status, COOKIE in cookies_of(answer)) == (403, False)
    assert rows(server, reason="form_refused")


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\r\nb"]
)
def test_the_next_page_is_one_of_this_origin(server: VaultServer, path: str) -> None:
    assert sign_in(server, next=path).header("location") == "/"


def test_signing_in_leads_back(server: VaultServer) -> None:
    assert sign_in(server, next=REPORT).header("location") == REPORT


def test_a_revoked_key_ends_its_sessions(server: VaultServer) -> None:
    created = server.call(
        "operator", "POST", "/admin/api-keys", json_body={"app": "reader", "roles": ["auditor"], "purposes": []}
    ).json
    answer = sign_in(server, key=created["key"])
    cookie = f"{COOKIE}={cookies_of(answer)[COOKIE]}"
    assert get(server, REPORT, cookie).status == 200
    assert server.call("operator", "DELETE", f"/admin/api-keys/{created['key_id']}").status == 200
    assert get(server, REPORT, cookie).status == 303


def test_an_admin_ends_a_session_of_another(server: VaultServer) -> None:
    theirs, mine = session_of(server, "auditor"), session_of(server)
    page = get(server, "/sessions", mine)
    (begun,) = rows(server, operation="sign-in", app="auditor")
    form = {"csrf": token_of(page), "session": str(begun["request_id"])}
    assert send(server, "/sessions", mine, form).status == 303
    assert get(server, "/docs", theirs).status == 303
    assert get(server, "/docs", mine).status == 200
    assert rows(server, operation="end-session", outcome="granted", app="operator")


def test_an_app_sees_and_ends_its_own_sessions_only(server: VaultServer) -> None:
    theirs, mine = session_of(server, "auditor"), session_of(server, "payments")
    page = get(server, "/sessions", mine)
    assert page.body.count(b'name="session"') == 1
    (begun,) = rows(server, operation="sign-in", app="auditor")
    answer = send(server, "/sessions", mine, {"csrf": token_of(page), "session": str(begun["request_id"])})
    assert answer.status == 403
    assert get(server, "/docs", theirs).status == 200


NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("began", "seen", "is_valid"),
    [
        (timedelta(minutes=14), timedelta(minutes=14), True),
        (timedelta(minutes=15), timedelta(minutes=15), False),
        (timedelta(hours=7, minutes=59), timedelta(minutes=1), True),
        (timedelta(hours=8), timedelta(minutes=1), False),
    ],
)
def test_a_session_ends_after_15_minutes_idle_and_8_hours_at_most(
    began: timedelta, seen: timedelta, is_valid: bool
) -> None:
    sessions = Sessions(b"s" * 32)
    session = Session("a" * 32, "x-vault-key", "k", "c", NOW - began, NOW - began)
    cookie = sessions.cookie(session, NOW - seen)[1].partition(";")[0].partition("=")[2]
    if is_valid:
        assert sessions.open(cookie, NOW).credential == "k"
        return
    with pytest.raises(CredentialRefused) as refused:
        sessions.open(cookie, NOW)
    assert refused.value.why == "session_expired"
