"""Signing in with a browser: the cookie, its limits, the forms, and what a page of another site cannot do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from tests.support.bad_tokens import EC, RSA
from tests.support.fixtures import NewDatabase, served
from tests.support.server import VaultServer
from tests.support.tokens import ISSUER, SigningKey, claims, jwks, provider
from tests.support.wire import Answer
from vsqlvault.errors import CredentialRefused
from vsqlvault.http.sessions import COOKIE, FORM_COOKIE, Session, Sessions, new_form_cookie

Start = Callable[..., VaultServer]
HTML = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin", **HTML}
REPORT = "/compliance/report?format=html"


TOKENS = """
[[auth.jwt]]
issuer = "{issuer}"
audience = "vault"
jwks_url = "{url}"
purposes_claim = "purposes"
roles_claim = "roles"
leeway_seconds = 0
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[VaultServer]:
    directory = tmp_path_factory.mktemp("sign-in")
    with provider() as keys:
        keys.document = jwks(EC)
        yield from served(directory, new_database(directory), TOKENS.format(issuer=ISSUER, url=keys.url))


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


def cookie_in(answer: Answer) -> str:
    assert answer.status == 303, answer
    return f"{COOKIE}={cookies_of(answer)[COOKIE]}"


def session_of(server: VaultServer, app: str = "operator") -> str:
    return cookie_in(sign_in(server, app))


def get(server: VaultServer, path: str, cookie: str) -> Answer:
    return server.call(None, "GET", path, headers={**HTML, "Cookie": cookie})


def rows(server: VaultServer, **equals: str) -> list[dict[str, object]]:
    return list(server.rows(urlencode(equals)))


def new_key(server: VaultServer, app: str, *roles: str) -> dict[str, str]:
    """Make a key, so that no other test signs in with it."""
    body = {"app": app, "roles": roles, "purposes": []}
    return dict(server.call("operator", "POST", "/admin/api-keys", json_body=body).json)


def secret_of(server: VaultServer) -> bytes:
    ((found,),) = server.query(
        sqlite="SELECT value FROM secrets WHERE name = 'session'",
        postgresql="SELECT value FROM vault.secrets WHERE name = 'session'",
    )
    return bytes(found)


@pytest.mark.parametrize("path", ["/docs", REPORT, "/sessions"])
def test_a_browser_without_a_session_is_sent_to_sign_in(server: VaultServer, path: str) -> None:
    answer = server.call(None, "GET", path, headers=HTML)
    assert answer.status == 303
    assert (answer.header("location") or "").startswith("/sign-in?next=/")


def test_the_start_page_leads_a_browser_to_the_documentation(server: VaultServer) -> None:
    answer = server.call(None, "GET", "/", headers=HTML)
    assert (answer.status, answer.header("location")) == (303, "/docs")


@pytest.mark.parametrize("path", ["/docs", "/compliance/report", "/"])
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
    answer = get(server, REPORT, session_of(server, "payments"))
    assert answer.status == 403
    assert rows(server, request_id=answer.request_id, outcome="denied", reason="role")


def test_a_refused_report_is_a_page_from_which_the_browser_can_sign_out(server: VaultServer) -> None:
    answer = get(server, REPORT, session_of(server, "payments"))
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert b"<h1>The caller does not have the role that this route requires</h1>" in answer.body
    assert b'action="/sign-out"' in answer.body
    assert token_of(answer)


def test_an_invalid_query_is_a_page_that_names_the_field(server: VaultServer) -> None:
    answer = get(server, f"{REPORT}&as_of=never", session_of(server, "auditor"))
    assert (answer.status, answer.header("content-type")) == (422, "text/html; charset=utf-8")
    assert b"<code>as_of</code>" in answer.body


def test_an_error_with_a_key_in_the_header_is_a_problem_document(server: VaultServer) -> None:
    assert server.call("payments", "GET", REPORT, headers=HTML).slug == "role-required"


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
    assert sign_in(server).status == 303


def test_forged_cookies_count_against_the_limit(another_vault: Start) -> None:
    server = another_vault(settings="[auth]\nmax_failures_per_minute = 2\n")
    for _ in range(2):
        get(server, "/docs", f"{COOKIE}=forged")
    assert sign_in(server, key="wrong").status == 429


def test_signing_in_and_out_are_rows(server: VaultServer) -> None:
    cookie = session_of(server)
    page = get(server, "/sessions", cookie)
    answer = send(server, "/sign-out", cookie, {"csrf": token_of(page)})
    assert (answer.status, cookies_of(answer)[COOKIE]) == (303, "")
    (ended,) = rows(server, operation="sign-out", outcome="granted", request_id=answer.request_id)
    (begun,) = rows(server, operation="sign-in", outcome="granted", request_id=str(ended["detail"]))
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
    created = new_key(server, "reader", "auditor")
    cookie = cookie_in(sign_in(server, key=created["key"]))
    assert get(server, REPORT, cookie).status == 200
    assert server.call("operator", "DELETE", f"/admin/api-keys/{created['key_id']}").status == 200
    assert get(server, REPORT, cookie).status == 303


def test_an_admin_ends_a_session_of_another(server: VaultServer) -> None:
    answer, mine = sign_in(server, "auditor"), session_of(server)
    theirs = cookie_in(answer)
    page = get(server, "/sessions", mine)
    assert answer.request_id.encode() in page.body
    form = {"csrf": token_of(page), "session": answer.request_id}
    ended = send(server, "/sessions", mine, form)
    assert ended.status == 303
    assert get(server, "/docs", theirs).status == 303
    assert get(server, "/docs", mine).status == 200
    assert rows(server, operation="end-session", outcome="granted", app="operator", request_id=ended.request_id)
    assert answer.request_id.encode() not in get(server, "/sessions", mine).body


def test_an_app_sees_and_ends_its_own_sessions_only(server: VaultServer) -> None:
    answer, own = sign_in(server, "auditor"), sign_in(server, key=new_key(server, "shopper")["key"])
    mine = cookie_in(own)
    page = get(server, "/sessions", mine)
    assert re.findall(rb'name="session" value="([0-9a-f]{32})"', page.body) == [own.request_id.encode()]
    refused = send(server, "/sessions", mine, {"csrf": token_of(page), "session": answer.request_id})
    assert refused.status == 403
    assert get(server, "/docs", cookie_in(answer)).status == 200
    form = {"csrf": token_of(page), "session": own.request_id}
    assert send(server, "/sessions", mine, form).status == 303
    assert get(server, "/docs", mine).status == 303


def token(server: VaultServer, text: str | None = None, **members: object) -> Answer:
    """Sign in with a token of an auditor, or with the given one."""
    usual = {"client_id": "assessor", "purposes": [], "roles": ["auditor"]}
    return sign_in(server, key=text or EC.token(claims(**{**usual, **members})), kind="token")


def test_a_token_opens_the_report_as_its_app(server: VaultServer) -> None:
    signed = token(server, jti="browser-1", sub="carol")
    answer = get(server, REPORT, cookie_in(signed))
    assert answer.status == 200
    (row,) = rows(server, request_id=answer.request_id)
    assert (row["app"], row["identity"], row["method"], row["credential_id"], row["operation"]) == (
        "assessor", "carol", "jwt", "login.example#jti:browser-1", "read-report",
    )  # fmt: skip


def test_the_list_names_the_token_of_a_session(server: VaultServer) -> None:
    signed = token(server, jti="browser-2", sub="dave")
    page = get(server, "/sessions", cookie_in(signed)).body.decode()
    assert "login.example#jti:browser-2" in page
    assert "Signed in as assessor (dave)" in page


def test_no_page_and_no_log_has_the_token(server: VaultServer) -> None:
    text = EC.token(claims(client_id="assessor", purposes=[], roles=["auditor"], jti="browser-3"))
    signed = token(server, text)
    pages = [signed, get(server, "/sessions", cookie_in(signed)), get(server, REPORT, cookie_in(signed))]
    signature = text.rpartition(".")[2]
    assert not [page for page in pages if signature in f"{page.headers}{page.body!r}"]
    assert signature not in server.log_file.read_text()


BAD_TOKENS = {
    "expired": EC.token(claims(time.time() - 400)),
    "of another issuer": EC.token(claims(iss="https://evil.example")),
    "for another audience": EC.token(claims(aud="shop")),
    "of an unknown key": SigningKey().token(claims()),
    "of a key that is not published": RSA.token(claims()),
    "bound to a certificate": EC.token(claims(cnf={"x5t#S256": "A" * 43})),
    "a key": "vsk_" + "k" * 40,
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_is_refused(server: VaultServer, name: str) -> None:
    answer = token(server, BAD_TOKENS[name])
    assert (answer.status, COOKIE in cookies_of(answer)) == (401, False)
    assert b"not accepted" in answer.body
    assert BAD_TOKENS[name].encode() not in answer.body


def test_a_key_is_no_token_and_a_token_no_key(server: VaultServer) -> None:
    assert sign_in(server, kind="token").status == 401
    assert sign_in(server, key=EC.token(claims()), kind="key").status == 401


def test_a_token_without_a_role_does_not_open_the_report(server: VaultServer) -> None:
    assert get(server, REPORT, cookie_in(token(server, roles=[]))).status == 403


def test_a_session_ends_when_its_token_expires(server: VaultServer) -> None:
    now = datetime.now(UTC)
    text = EC.token(claims(time.time() - 400, client_id="assessor", purposes=[]))
    session = Session("b" * 32, "authorization", f"Bearer {text}", "c", now, now)
    cookie = Sessions(secret_of(server)).cookie(session, now)[1].partition(";")[0]
    answer = get(server, "/docs", cookie)
    assert (answer.status, cookies_of(answer)[COOKIE]) == (303, "")
    assert rows(server, reason="token_expired") or rows(server, reason="expired")


def test_an_expired_session_is_refused_with_its_reason(server: VaultServer) -> None:
    began = datetime.now(UTC) - timedelta(minutes=16)
    session = Session("c" * 32, "x-vault-key", server.apps["operator"].key, "c", began, began)
    answer = get(server, "/docs", Sessions(secret_of(server)).cookie(session, began)[1].partition(";")[0])
    assert (answer.status, cookies_of(answer)[COOKIE]) == (303, "")
    assert rows(server, reason="session_expired")


def test_each_request_of_a_session_extends_it_but_not_beyond_its_end(server: VaultServer) -> None:
    sessions, cookie = Sessions(secret_of(server)), session_of(server)
    first = sessions.open(cookie.partition("=")[2], datetime.now(UTC))
    renewed = cookies_of(get(server, "/docs", cookie))[COOKIE]
    again = sessions.open(renewed, datetime.now(UTC))
    assert renewed != cookie.partition("=")[2]
    assert (again.session_id, again.began_at) == (first.session_id, first.began_at)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("text/plain", b"csrf=x", 415),
        ("application/x-www-form-urlencoded", b"csrf=" + b"x" * 16_384, 413),
    ],
)
def test_a_body_that_no_page_sends_is_refused(server: VaultServer, content_type: str, body: bytes, status: int) -> None:
    for path, cookie in (("/sign-in", f"{FORM_COOKIE}=x"), ("/sign-out", session_of(server))):
        headers = {**FORM, "Content-Type": content_type, "Cookie": cookie}
        assert server.call(None, "POST", path, headers=headers, body=body).status == status


@pytest.mark.parametrize("also", ["csrf={token}", "x=%ff", "x", "\xe9=1"])
def test_a_form_that_is_malformed_is_refused(server: VaultServer, also: str) -> None:
    cookie = session_of(server)
    token = token_of(get(server, "/sessions", cookie))
    body = f"csrf={token}&{also.format(token=token)}".encode("latin-1")
    assert server.call(None, "POST", "/sign-out", headers={**FORM, "Cookie": cookie}, body=body).status == 403
    assert get(server, "/docs", cookie).status == 200


def test_a_new_session_removes_leases_that_have_expired(server: VaultServer) -> None:
    server.query(
        sqlite="INSERT INTO leases (name, holder, expires_at) VALUES ('session:gone', 'live', 1)",
        postgresql="INSERT INTO vault.leases (name, holder, expires_at) VALUES ('session:gone', 'live', '2020-01-01Z')",
    )
    first, second = session_of(server), session_of(server)
    assert [get(server, "/docs", cookie).status for cookie in (first, second)] == [200, 200]
    send(server, "/sign-out", first, {"csrf": token_of(get(server, "/sessions", first))})
    get(server, "/docs", session_of(server))
    gone = "SELECT 1 FROM {} WHERE name = 'session:gone'"
    assert server.query(sqlite=gone.format("leases"), postgresql=gone.format("vault.leases")) == []
    assert [get(server, "/docs", cookie).status for cookie in (first, second)] == [303, 200]


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
