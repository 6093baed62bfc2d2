"""Requests of browsers: who has a session, and what a browser without one is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from vsqlvault.errors import CredentialRefused, FormRefused, UnsupportedMediaType, VaultError
from vsqlvault.http.messages import Request
from vsqlvault.http.operation import Browser, Operation, RequestContext
from vsqlvault.http.sessions import COOKIE, CSRF_FIELD, Session, Sessions, cookie_of, parse_form
from vsqlvault.model.principal import Call
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.vault import Vault

FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 16_384
SAFE_METHODS = frozenset({"GET", "HEAD"})


def is_navigation(request: Request, operation: Operation | None) -> bool:
    """Whether a browser asks for a page to show."""
    return request.method == "GET" and shows_page(request, operation)


def shows_page(request: Request, operation: Operation | None) -> bool:
    """Whether a browser shows the response: that of a page, also of a form."""
    accepts = "text/html" in (request.header("accept") or "")
    return operation is not None and operation.in_browser and accepts


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of the form that was sent. Raises UnsupportedMediaType, PayloadTooLarge, FormRefused."""
    if (request.header("content-type") or "").partition(";")[0].strip().lower() != FORM:
        raise UnsupportedMediaType(FORM)
    return parse_form(await request.read_body(MAX_FORM_BYTES))


@dataclass(frozen=True, slots=True)
class Browsing:
    """The sessions of one vault, as its dispatcher uses them."""

    vault: Vault
    sessions: Sessions
    key_header: str
    start_path: str

    async def session_of(self, request: Request) -> Session | None:
        """Return the session of a request, or None if it has no cookie.

        Raises:
            CredentialRefused: the cookie is invalid, or the session has expired or was ended.
            StorageUnavailable.
        """
        text = cookie_of(request.headers, COOKIE)
        if text is None:
            return None
        session = self.sessions.open(text, self.vault.clock.now())
        if not await self.vault.credentials.sessions.is_live(session.session_id):
            raise CredentialRefused("session_ended", credential_id=session.credential_id)
        return session

    def for_pages(
        self, request: Request, address: str | None, recognise: Callable[[Mapping[str, str]], Awaitable[Call]]
    ) -> Browser:
        """Return what the pages for signing in need."""

        async def old_session() -> Session | None:
            try:
                return await self.session_of(request)
            except CredentialRefused:
                return None

        return Browser(self.sessions, self.key_header, self.start_path, address, recognise, old_session)

    async def checked_form(self, request: Request, operation: Operation, session: Session | None) -> dict[str, str]:
        """Return the form of a request that changes something, sent by a page of its session. Raises FormRefused."""
        if request.method in SAFE_METHODS or not operation.is_page:
            return {}
        if session is None:
            raise FormRefused
        form = await form_of(request)
        self.sessions.check_form(request.headers, form.get(CSRF_FIELD), session.session_id)
        return form


def renewed(context: RequestContext, sessions: Sessions) -> tuple[str, str] | None:
    """Return the cookie field of a request of a session, which was used just now."""
    return None if context.session is None else sessions.cookie(context.session, context.session.seen_at)


def counts_as_failure(error: VaultError) -> bool:
    """Whether an error of a cookie counts against its source: an expired session is no attack."""
    return isinstance(error, CredentialRefused) and error.why == "session_invalid"
