"""Validates, authenticates and dispatches requests, and audits rejections."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from urllib.parse import unquote

from vsqlvault.config import Settings
from vsqlvault.errors import (
    BadForwarding,
    BadRequest,
    CredentialInUrl,
    CredentialRefused,
    InternalFault,
    InvalidPath,
    OutcomeUnknown,
    PluginFailed,
    TlsRequired,
    Unavailable,
    UriTooLong,
    VaultError,
)
from vsqlvault.http.authentication import (
    AUTHENTICATOR_SECONDS,
    authenticate,
    credential_id,
    where_credentials_belong,
)
from vsqlvault.http.browsing import Browsing, counts_as_failure, is_navigation, renewed, shows_page
from vsqlvault.http.cursors import Cursors
from vsqlvault.http.forwarding import Forwarding, Proxies
from vsqlvault.http.messages import Reply, Request, default_headers, is_loopback
from vsqlvault.http.metrics import Metrics
from vsqlvault.http.operation import ENTRIES, PARAMETERS, Limits, Operation, RequestContext, check_params
from vsqlvault.http.pages.replies import SIGN_IN, START, problem_page, redirect, to_sign_in
from vsqlvault.http.problems import problem
from vsqlvault.http.schemas.queries import NoQuery, read_query
from vsqlvault.http.server.state import PROBES
from vsqlvault.http.sessions import CLEARED, Session, Sessions
from vsqlvault.http.tracing import trace_parent
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.interfaces.request_observer import AnsweredRequest
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.log.quarantine import Quarantine
from vsqlvault.service.plugin_calls import call_plain
from vsqlvault.service.vault import Vault

log = logging.getLogger(__name__)
MAX_TARGET_BYTES = 8192
MAX_LEAKED = 4
NO_TLS = (
    "this server has no [server.tls], so it serves clients on its own machine only: connect with TLS, or have the operator"
    ' configure [server.tls], or server.plaintext = "any" behind a proxy that terminates TLS'
)
NAMES_NOBODY = frozenset({"no_credential", "unmapped_cert"})
ANONYMOUS = Principal(app="anonymous", method="none", credential_id="none", purposes=frozenset())
_TARGET = re.compile(rb"/(?:[A-Za-z0-9._:@~-]+(?:/[A-Za-z0-9._:@~-]+)*)?")
_DOTS = re.compile(rb"/\.\.?(?:/|$)")
_CREDENTIAL_NAMES = frozenset({"access_token", "api-key", "api_key", "apikey", "authorization", "key", "token"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_SHOWN_BYTES = 64
_NANOSECONDS = 1_000_000_000
_LONG_NUMBER = re.compile(r"\d{9,}")


_FACTS = "dispatcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderFacts:
    """What the header fields of a request show, by the proxies that are trusted.

    ``client_address`` is the client to whom the request is attributed. ``is_single``: no field occurs twice.
    ``has_untrusted``: a field speaks for somebody else, and is not trusted. ``presented`` has no certificate yet.
    """

    proxies: Proxies
    peer: str | None
    client_address: str | None
    bad_forwarding: BadForwarding | None
    is_single: bool
    has_untrusted: bool
    is_from_proxy: bool
    presented: Presented
    traceparent: str | None


class Dispatcher:
    """Answers requests. Every adapter passes them to ``answer`` and sends the returned reply."""

    def __init__(
        self,
        settings: Settings,
        vault: Vault,
        cursors: Cursors,
        metrics: Metrics,
        forwarding: Forwarding | None = None,
        *,
        sessions: Sessions | None = None,
        start_path: str = "/docs",
        authenticator_seconds: float = AUTHENTICATOR_SECONDS,
    ) -> None:
        """``authenticator_seconds``: how long one authenticator may take. ``sessions`` None: no browser can sign in."""
        self._vault = vault
        self._authenticator_seconds = authenticator_seconds
        self._cursors = cursors
        self._metrics = metrics
        self._forwarding = forwarding or Forwarding(settings.server)
        self._limits = Limits(settings.server.max_body_bytes, settings.server.max_value_bytes)
        self._plaintext_anywhere = settings.server.plaintext == "any"
        self._browsing = (
            Browsing(vault, sessions, settings.auth.api_key_header.lower(), start_path)
            if sessions is not None
            else None
        )
        self._open = {*(path.decode("ascii") for path in PROBES), SIGN_IN}
        if not settings.metrics.require_auth:
            self._open.add("/metrics")
        if not settings.docs.require_auth:
            self._open |= {"/openapi.json", "/docs"}
        self._credential_headers = frozenset(
            header for authenticator in vault.credentials.authenticators for header in authenticator.credential_headers
        )
        self._where_credentials_belong = where_credentials_belong(
            vault.credentials.authenticators, settings.auth.api_key_header
        )
        self._credential_names = _CREDENTIAL_NAMES | self._credential_headers

    async def answer(self, request: Request, operation: Operation | None, refusal: VaultError | None = None) -> Reply:
        """Return the reply to a request for ``operation``, or the reply of a rejection.

        It never raises an error that a request can cause. An error becomes a problem document, and its row is
        committed.
        """
        started = time.perf_counter()
        try:
            reply = await self._answer(request, operation, refusal)
        except VaultError as error:
            self._vault.audit.unaudited.count(error)
            reply = problem(error, request.request_id, for_admin=request.is_admin)
            if shows_page(request, operation) and not self._presents(request):
                reply = problem_page(error, request, reply.headers)
        except Exception:
            log.exception("request failed", extra={"request_id": request.request_id})
            reply = problem(InternalFault(), request.request_id)
        reply.headers += default_headers(request.request_id)
        route = operation.path if operation else "unmatched"
        method = operation.method if operation else "other"
        seconds = time.perf_counter() - started
        self._metrics.observe(method, route, reply.status, seconds)
        if self._vault.request_observers:
            self._tell_observers(request, method, route, reply.status, seconds)
        return reply

    def _tell_observers(self, request: Request, method: str, route: str, status: int, seconds: float) -> None:
        parent = trace_parent(request.headers) if "traceparent" in request.by_name else None
        started_at = time.time_ns() - int(seconds * _NANOSECONDS)
        answered = AnsweredRequest(method, route, status, started_at, seconds, request.request_id, parent)
        for observer in self._vault.request_observers:
            with suppress(PluginFailed):  # it is logged
                call_plain(observer, partial(observer.answered, answered))

    async def _answer(self, request: Request, operation: Operation | None, refusal: VaultError | None) -> Reply:
        if request.raw_query or not request.is_plain:
            refusal = self._unfit(request) or refusal
        facts: HeaderFacts | None = request.memo.get(_FACTS)
        if facts is None or facts.proxies is not self._forwarding.proxies or facts.peer != request.peer:
            facts = self._new_facts(request)
        refusal = facts.bad_forwarding or refusal
        if isinstance(refusal, CredentialInUrl):
            refusal = CredentialInUrl(await self._leaked(request))
        if not (request.secure or self._plaintext_anywhere or is_loopback(request.peer)):
            insecure = TlsRequired(NO_TLS)
            await self._vault.audit.auth_failures.record(insecure, request.request_id, facts.client_address)
            raise insecure
        if operation is not None and operation.path in self._open and refusal is None:
            call = await self._recognise_or_not(request, facts)
            read_query(operation.query, request.query())
            return await operation.handler(self._exchange(request, call, facts))
        if operation is not None and operation.in_browser and self._browsing and not self._presents(request):
            if operation.path == START and refusal is None and is_navigation(request, operation):
                return redirect(self._browsing.start_path)
            return await self._browse(request, operation, facts, refusal, self._browsing)
        call = await self._recognise(request, facts, refusal)
        return await self._serve(request, operation, facts, refusal, call)

    async def _browse(
        self,
        request: Request,
        operation: Operation,
        facts: HeaderFacts,
        refusal: VaultError | None,
        browsing: Browsing,
    ) -> Reply:
        """Answer a request without a credential header, by the session of its cookie."""
        try:
            session = await browsing.session_of(request)
        except CredentialRefused as error:
            answered = error
            if counts_as_failure(error):
                weighed = self._vault.credentials.rate_limiter.weigh(error, facts.client_address)
                answered = weighed if isinstance(weighed, CredentialRefused) else error
            await self._vault.audit.auth_failures.record(answered, request.request_id, facts.client_address)
            return self._signed_out(request, operation, error)
        if session is None:
            if request.client_certificate is None and refusal is None and is_navigation(request, operation):
                return to_sign_in(request.raw_path, request.raw_query)
            call = await self._recognise(request, facts, refusal)
        else:
            facts = _presenting(facts, {session.header: session.credential})
            try:
                call = await self._recognise(request, facts, refusal)
            except CredentialRefused as error:
                return self._signed_out(request, operation, error)
            request.viewer = {"caller": call.principal, "csrf": browsing.sessions.token(session.session_id)}
        return await self._serve(request, operation, facts, refusal, call, session)

    def _signed_out(self, request: Request, operation: Operation, error: VaultError) -> Reply:
        """Return the reply to a browser whose session is not valid, which removes its cookie."""
        if is_navigation(request, operation):
            reply = to_sign_in(request.raw_path, request.raw_query)
        else:
            reply = problem(error, request.request_id)
        reply.headers.append(CLEARED)
        return reply

    async def _serve(
        self,
        request: Request,
        operation: Operation | None,
        facts: HeaderFacts,
        refusal: VaultError | None,
        call: Call,
        session: Session | None = None,
    ) -> Reply:
        request.is_admin = Role.ADMIN in call.principal.roles
        try:
            if refusal is not None:
                raise refusal
            if operation is None:
                raise InvalidPath
            if request.raw_query or not (request.is_plain and facts.is_single):
                self._check(request, operation)
            if operation.in_browser:
                return await self._serve_page(operation, request, facts, call, session)
            context = RequestContext(request, call, self._vault, self._cursors, self._limits)
            if operation.tag != ENTRIES:
                return await operation.handler(context)
            quarantine = self._vault.log.quarantine
            if quarantine.must_check:
                await quarantine.check()
            try:
                return await operation.handler(context)
            finally:
                if quarantine.must_check:  # the handler may be the first that met another incarnation
                    await _check_after(quarantine, operation)
        except Exception as error:  # noqa: BLE001 - every error becomes a problem document
            raise await self._refused(request, operation, call, error)  # noqa: B904 - it has its cause

    async def _serve_page(
        self, operation: Operation, request: Request, facts: HeaderFacts, call: Call, session: Session | None
    ) -> Reply:
        """Answer a request that a browser may make. A form must come from a page of its session."""
        context = self._exchange(request, call, facts, session)
        if self._browsing is None:
            return await operation.handler(context)
        form = await self._browsing.checked_form(request, operation, session)
        reply = await operation.handler(replace(context, form=form))
        cookie = renewed(context, self._browsing.sessions)
        if cookie is not None and CLEARED not in reply.headers:
            reply.headers.append(cookie)
        return reply

    async def _refused(self, request: Request, operation: Operation | None, call: Call, error: Exception) -> VaultError:
        """Return the error to answer with, once its audit row is committed. Raises AuditUnavailable."""
        told = error if isinstance(error, VaultError) else InternalFault()
        if told is not error:
            log.error("request failed", exc_info=error, extra={"request_id": request.request_id})
            told.__cause__ = error
        if call.refusal is not told:
            context = _refused_context(call, operation, request.params)
            await self._vault.audit.recorder.refuse_in_turn(context, told, _detail(told, request))
        return told

    def _new_facts(self, request: Request) -> HeaderFacts:
        """Return what the headers show, and keep it for the next request of the connection, if its headers are the same."""
        bad_forwarding, address = None, request.peer
        try:
            address = self._forwarding.client(request.peer, request.headers)
        except BadForwarding as error:
            bad_forwarding = error
        trusted = self._forwarding.trusted_headers(request, request.by_name)
        facts = HeaderFacts(
            proxies=self._forwarding.proxies,
            peer=request.peer,
            client_address=address,
            bad_forwarding=bad_forwarding,
            is_single=len(request.by_name) == len(request.headers),
            has_untrusted=trusted is not request.by_name,
            is_from_proxy=self._forwarding.trusts(request.peer),
            presented=Presented(MappingProxyType(dict(trusted)), address),
            traceparent=trace_parent(request.headers) if "traceparent" in request.by_name else None,
        )
        if bad_forwarding is None:
            request.memo[_FACTS] = facts
        return facts

    def _check(self, request: Request, operation: Operation) -> None:
        """Raise the fault of the request, regardless of the caller."""
        request.check_single(self._credential_headers)
        check_params(request.params)
        if operation.query is NoQuery and request.raw_query:
            read_query(NoQuery, request.query())

    async def _recognise_or_not(self, request: Request, facts: HeaderFacts) -> Call:
        """Return the caller on an open route, which may be anonymous. A credential that is present must be valid."""
        presents = self._presents(request)
        if not presents and request.client_certificate is None:
            return Call(ANONYMOUS, request.request_id)
        return await self._recognise(request, facts, None, or_nobody=not presents)

    async def _recognise(
        self, request: Request, facts: HeaderFacts, refusal: VaultError | None, *, or_nobody: bool = False
    ) -> Call:
        """Return the call of an authenticated caller. A faulty request gets its own error, even without a valid credential.

        ``or_nobody``: a caller whose certificate names no app is anonymous.
        """
        address, untrusted = facts.client_address, False
        try:
            if not facts.is_single:
                request.check_single(self._credential_headers, others=False)
            untrusted = facts.has_untrusted
            presented = facts.presented
            if request.client_certificate is not None or request.certificate_fault or facts.is_from_proxy:
                presented = self._with_certificate(request, presented)
            principal = await authenticate(
                self._vault.credentials.authenticators, presented, self._authenticator_seconds
            )
            self._vault.credentials.inventory.record_usage(principal)
        except VaultError as error:
            if or_nobody and isinstance(error, CredentialRefused) and error.why in NAMES_NOBODY:
                return Call(ANONYMOUS, request.request_id)
            if type(error) is CredentialRefused and error.why == "no_credential":
                error.detail = self._where_credentials_belong
            answered = self._vault.credentials.rate_limiter.weigh(error, address)
            told = refusal if isinstance(refusal, CredentialInUrl) else answered
            await self._vault.audit.auth_failures.record(
                told, request.request_id, address, untrusted_forwarding=untrusted
            )
            if isinstance(refusal, BadRequest):
                raise refusal from None
            if answered is error:
                raise
            raise answered from None
        return Call(
            principal, request.request_id, address, untrusted_forwarding=untrusted, traceparent=facts.traceparent
        )

    def _with_certificate(self, request: Request, presented: Presented) -> Presented:
        """Return what is presented with the client's certificate, where there is one. Raises as ``Forwarding.certificate``."""
        if request.certificate_fault:
            raise _refused_certificate(request)
        certificate = self._forwarding.certificate(request)
        if certificate is None:
            return presented
        return replace(presented, client_certificate=certificate.der, client_issuers=certificate.issuers)

    def _unfit(self, request: Request) -> VaultError | None:
        """Return the error of the request's target, before anything else is checked."""
        if len(request.raw_path) + len(request.raw_query) > MAX_TARGET_BYTES:
            return UriTooLong(f"at most {MAX_TARGET_BYTES} bytes")
        path = request.raw_path
        if not _TARGET.fullmatch(path) or (b"/." in path and _DOTS.search(path)):
            return InvalidPath(
                "letters, digits and . _ : @ ~ - between single slashes; no percent-encoding, no dot segments"
            )
        return CredentialInUrl() if request.raw_query and self._in_url(request) else None

    def _in_url(self, request: Request) -> list[str]:
        """Return the query string's values that may be credentials."""
        members = (part.decode("latin-1").partition("=") for part in request.raw_query.split(b"&"))
        return [unquote(text) for name, _, text in members if unquote(name).lower() in self._credential_names]

    async def _leaked(self, request: Request) -> str | None:
        """Return the id of the first known credential in the URL, so that an operator can replace it."""
        for text in self._in_url(request)[:MAX_LEAKED]:
            if found := await credential_id(self._vault.credentials.authenticators, text):
                return found
        return None

    def _exchange(
        self, request: Request, call: Call, facts: HeaderFacts, session: Session | None = None
    ) -> RequestContext:
        context = RequestContext(request, call, self._vault, self._cursors, self._limits, session)
        if self._browsing is None:
            return context

        async def recognise(headers: Mapping[str, str]) -> Call:
            return await self._recognise(request, _presenting(facts, headers), None)

        return replace(context, pages=self._browsing.for_pages(request, facts.client_address, recognise))

    def _presents(self, request: Request) -> bool:
        return any(name == "authorization" or name in self._credential_headers for name, _ in request.headers)


def _refused_certificate(request: Request) -> CredentialRefused:
    certificate = request.client_certificate
    return CredentialRefused(
        request.certificate_fault or "malformed", credential_id=certificate.credential_id if certificate else None
    )


def _presenting(facts: HeaderFacts, headers: Mapping[str, str]) -> HeaderFacts:
    """Return the facts of a request with a credential that its headers do not have."""
    presented = replace(facts.presented, headers=MappingProxyType({**facts.presented.headers, **headers}))
    return replace(facts, presented=presented)


async def _check_after(quarantine: Quarantine, operation: Operation) -> None:
    """Check once more before the response. Raises Quarantined, Unavailable; OutcomeUnknown after a write."""
    try:
        await quarantine.check()
    except Unavailable as unavailable:
        if operation.method in _SAFE_METHODS:
            raise
        raise OutcomeUnknown from unavailable


def _refused_context(call: Call, operation: Operation | None, params: Mapping[str, str]) -> AuditContext:
    """Return the audit context of a rejection. Only the valid parts of a path go into the row."""
    fit = {name: value for name, value in params.items() if PARAMETERS[name].fullmatch(value)}
    audited = (operation.audited if operation else None) or Audited.UNKNOWN
    if "purpose" in fit and "external_id" in fit:
        return AuditContext(call, audited, EntryKey(fit["purpose"], fit["external_id"]))
    return AuditContext(call, audited, purpose=fit.get("purpose"))


def _detail(error: VaultError, request: Request) -> str | None:
    if isinstance(error, CredentialInUrl):
        return f"in the URL: {error.credential_id}" if error.credential_id else None
    return _described(request) if isinstance(error, (InvalidPath, UriTooLong)) else None


def _described(request: Request) -> str:
    """Describe a target that is not recorded literally: hash, length, and its start, with long numbers hidden."""
    target = request.raw_path
    shown = _LONG_NUMBER.sub("#", target.decode("latin-1")).encode("ascii", "backslashreplace")[:_SHOWN_BYTES]
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in shown)  # noqa: PLR2004
    return f"path sha256:{hashlib.sha256(target).hexdigest()} length:{len(target)} begins:{text[:_SHOWN_BYTES]}"
