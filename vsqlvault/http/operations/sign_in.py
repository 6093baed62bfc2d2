"""Signing in and out with a browser, and the sessions that are open."""

from __future__ import annotations

import re

from vsqlvault.errors import CredentialRefused, FormRefused, RateLimited
from vsqlvault.http.browsing import form_of
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Handler, Operation, RequestContext
from vsqlvault.http.pages.rendering import Renderer
from vsqlvault.http.pages.replies import SIGN_IN, START, local_path, redirect
from vsqlvault.http.schemas.queries import NoQuery, SignInQuery
from vsqlvault.http.sessions import (
    CLEARED,
    CSRF_FIELD,
    FORM_COOKIE,
    MAX_CREDENTIAL_BYTES,
    Session,
    cookie_of,
    new_form_cookie,
)
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.times import format_time

SESSIONS = "/sessions"
_TITLE = "Sign in"
_SESSION_ID = re.compile(r"[0-9a-f]{32}")
_renderer = Renderer()


async def show_sign_in(context: RequestContext) -> Reply:
    """Return the form, with a token that is bound to a cookie of its own."""
    return _form(context, context.query(SignInQuery).next)


def _form(context: RequestContext, next_path: str | None, fault: str | None = None, status: int = 200) -> Reply:
    value, field = new_form_cookie()
    token = context.browser.sessions.token(value)
    variables = {"csrf": token, "next": local_path(next_path), "fault": fault}
    reply = _renderer.reply("sign_in.html", _TITLE, variables, status)
    reply.headers.append(field)
    return reply


async def sign_in(context: RequestContext) -> Reply:
    """Begin a session under a new id. A session that the browser had is ended."""
    request, browser = context.request, context.browser
    try:
        form = await _signing_form(context)
    except FormRefused as error:
        await context.vault.audit.auth_failures.record(error, request.request_id, browser.client_address)
        raise
    credential, next_path = form.get("credential", "").strip(), form.get("next")
    if (
        not credential
        or not credential.isascii()
        or not credential.isprintable()
        or len(credential) > MAX_CREDENTIAL_BYTES
    ):
        fault = f"Enter a key or a token of 1 to {MAX_CREDENTIAL_BYTES} ASCII characters."
        return _form(context, next_path, fault, 422)
    header = (
        ("authorization", f"Bearer {credential}") if form.get("kind") == "token" else (browser.key_header, credential)
    )
    try:
        call = await browser.recognise({header[0]: header[1]})
    except CredentialRefused as error:
        return _form(context, next_path, "The credential was not accepted.", error.status)
    except RateLimited as error:
        reply = _form(
            context, next_path, "Too many credentials from this address were rejected. Retry later.", error.status
        )
        reply.headers.append(("Retry-After", str(error.retry_after_seconds)))
        return reply
    service = context.vault.credentials.sessions
    old = await browser.old_session()
    now = await service.begin(call)
    if old is not None:
        await service.sign_out(call, old.session_id)
    session = Session(call.request_id, *header, call.principal.credential_id, now, now)
    reply = redirect(local_path(next_path))
    reply.headers.append(browser.sessions.cookie(session, now))
    return reply


async def _signing_form(context: RequestContext) -> dict[str, str]:
    """Return the form, which needs the token of the browser's own sign-in page, so that no other site signs it in."""
    headers = context.request.headers
    form = await form_of(context.request)
    context.browser.sessions.check_form(headers, form.get(CSRF_FIELD), cookie_of(headers, FORM_COOKIE))
    return form


async def sign_out(context: RequestContext) -> Reply:
    """End the session of the request, and remove its cookie."""
    await context.vault.credentials.sessions.sign_out(context.call, _session(context).session_id)
    reply = redirect(SIGN_IN)
    reply.headers.append(CLEARED)
    return reply


def _session(context: RequestContext) -> Session:
    if context.session is None:
        raise FormRefused("only a browser session has this page")
    return context.session


async def show_sessions(context: RequestContext) -> Reply:
    """Return the list of sessions that the caller may see."""
    session = _session(context)
    listed = await context.vault.credentials.sessions.listed(context.call)
    rows = [
        {
            "id": each.session_id,
            "at": format_time(each.record.at.replace(microsecond=0)),
            "app": each.record.app,
            "identity": each.record.identity or "",
            "credential": each.record.credential_id,
            "address": each.record.client_address or "",
            "is_own": each.session_id == session.session_id,
        }
        for each in listed
    ]
    variables = {"sessions": rows, "caller": context.call.principal, "csrf": context.csrf_token}
    return _renderer.reply("sessions.html", "Sessions", variables)


async def end_session(context: RequestContext) -> Reply:
    """End the session that the form names."""
    session_id = context.form.get("session", "")
    if not _SESSION_ID.fullmatch(session_id):
        raise FormRefused("session: expected the id of a session")
    await context.vault.credentials.sessions.end(context.call, session_id)
    return redirect(SESSIONS)


async def show_start(context: RequestContext) -> Reply:
    """Send a browser to the console, where one is installed, else to the documentation."""
    return redirect(context.browser.start_path)


def _page(method: str, path: str, name: str, handler: Handler, audited: Audited | None, summary: str) -> Operation:
    return Operation(
        method=method,
        path=path,
        name=name,
        summary=summary,
        handler=handler,
        audited=audited,
        media_types=("text/html",),
        tag="pages",
        in_browser=True,
        is_page=True,
        query=SignInQuery if path == SIGN_IN and method == "GET" else NoQuery,
    )


OPERATIONS = (
    _page("GET", START, "start", show_start, None, "Go to the console or the documentation"),
    _page("GET", SIGN_IN, "show_sign_in", show_sign_in, None, "The form to sign in"),
    _page("POST", SIGN_IN, "sign_in", sign_in, Audited.SIGN_IN, "Sign in"),
    _page("POST", "/sign-out", "sign_out", sign_out, Audited.SIGN_OUT, "Sign out"),
    _page("GET", SESSIONS, "show_sessions", show_sessions, Audited.READ_SESSIONS, "Sessions"),
    _page("POST", SESSIONS, "end_session", end_session, Audited.END_SESSION, "End a session"),
)
