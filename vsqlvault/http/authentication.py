"""Authenticates a request: from its credentials to a principal."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from types import NoneType
from typing import Any

from vsqlvault.errors import AmbiguousCredentials, AuthUnavailable, CredentialRefused, PluginFailed
from vsqlvault.interfaces.authenticator import Authenticator, Presented
from vsqlvault.model.entry import PURPOSE
from vsqlvault.model.principal import Principal, Role
from vsqlvault.model.text import is_readable
from vsqlvault.service.plugin_calls import Pending, begin_call, call_plain, finish_call

log = logging.getLogger(__name__)
AUTHENTICATOR_SECONDS = 2.0
MAX_TEXT = 256
_ANSWERS = (Principal, NoneType)
_PASSES = (CredentialRefused, AuthUnavailable)
MAX_REMEMBERED = 4096
_sound: dict[int, Principal] = {}


async def authenticate(
    authenticators: Sequence[Authenticator], presented: Presented, timeout_seconds: float = AUTHENTICATOR_SECONDS
) -> Principal:
    """Call every authenticator with its own credential.

    An invalid credential ends the request, whatever else it contains.

    Several valid credentials of one app grant their intersection. The audit row names the first.

    Raises:
        CredentialRefused: no credential, an invalid one, or an unknown ``Authorization``.
        AmbiguousCredentials: two valid ones for different apps.
        AuthUnavailable: an authenticator cannot verify the credential now.
        PluginFailed: an authenticator failed, was late, or returned an invalid principal.
    """
    principal: Principal | None = None
    headers, claimed_authorization = presented.headers, False
    for authenticator in authenticators:
        read = authenticator.credential_headers
        if read and presented.client_certificate is None and headers.keys().isdisjoint(read):
            continue  # the request presents nothing that it reads
        found = _asked(authenticator, presented, timeout_seconds)
        if type(found) is Pending:
            found = await _answered(authenticator, found, timeout_seconds)
        if found is None:
            continue
        claimed_authorization |= "authorization" in authenticator.credential_headers
        if principal is None:
            principal = found
        elif principal.app == found.app:
            principal = principal.narrowed(found)
        else:
            raise AmbiguousCredentials
    if "authorization" in headers and not claimed_authorization:
        raise CredentialRefused("unknown_scheme")
    if principal is None:
        raise CredentialRefused("no_credential")
    return principal


def where_credentials_belong(authenticators: Iterable[Authenticator], api_key_header: str) -> str:
    """Return the detail for a caller without a credential: the header of API keys, and those of authenticators in use."""
    key_header, others, has_keys = api_key_header.lower(), set(), False
    for authenticator in authenticators:
        headers = {header.lower() for header in authenticator.credential_headers}
        has_keys |= key_header in headers
        if headers - {key_header} and _is_in_use(authenticator):
            others |= headers - {key_header}
    shown = [api_key_header] if has_keys else []
    shown += ["Authorization" if header == "authorization" else header for header in sorted(others)]
    return f"send a credential in the header {' or '.join(shown)}" if shown else "present a client certificate"


def _is_in_use(authenticator: Authenticator) -> bool:
    try:
        return bool(call_plain(authenticator, lambda: authenticator.is_in_use))
    except PluginFailed:
        return False


async def credential_id(authenticators: Sequence[Authenticator], text: str) -> str | None:
    """Return the id of the credential that a text is, for any header, or None if it is unknown."""
    for authenticator in authenticators:
        for header in authenticator.credential_headers:
            for value in (text, f"Bearer {text}") if header == "authorization" else (text,):
                if found := await _known_as(authenticator, Presented({header: value})):
                    return found
    return None


async def _known_as(authenticator: Authenticator, presented: Presented) -> str | None:
    try:
        principal = _asked(authenticator, presented, AUTHENTICATOR_SECONDS)
        if type(principal) is Pending:
            principal = await _answered(authenticator, principal, AUTHENTICATOR_SECONDS)
    except CredentialRefused as refused:
        return refused.credential_id
    except (AuthUnavailable, PluginFailed):
        return None
    return principal.credential_id if principal else None


def _asked(authenticator: Authenticator, presented: Presented, timeout_seconds: float) -> Any:
    """Return the principal that an authenticator recognises, or None; a Pending, if it does not answer at once."""
    try:
        found = begin_call(
            authenticator, authenticator.authenticate, _ANSWERS, timeout_seconds, presented, passes=_PASSES
        )
    except CredentialRefused as refused:
        _check_refusal(authenticator, refused)
        raise
    if found is not None and type(found) is not Pending and _sound.get(id(found)) is not found:
        _check_principal(authenticator, found)
    return found


async def _answered(authenticator: Authenticator, pending: Pending, timeout_seconds: float) -> Any:
    """Return the principal for a Pending, or None."""
    try:
        found = await finish_call(authenticator, pending, _ANSWERS, timeout_seconds, passes=_PASSES)
    except CredentialRefused as refused:
        _check_refusal(authenticator, refused)
        raise
    if found is not None:
        _check_principal(authenticator, found)
    return found


def _check_principal(authenticator: Authenticator, found: Principal) -> None:
    """Raise PluginFailed for an invalid principal."""
    if not _known_sound(found):
        raise _unsound(authenticator, "a principal")


def _check_refusal(authenticator: Authenticator, refused: CredentialRefused) -> None:
    """Raise PluginFailed for a refusal whose text an audit row cannot contain."""
    why, credential_id = getattr(refused, "why", None), getattr(refused, "credential_id", None)
    if not (_is_text(why) and (credential_id is None or _is_text(credential_id))):
        raise _unsound(authenticator, "a refusal") from refused


def _known_sound(principal: Principal) -> bool:
    """Check like ``_is_sound``, and remember valid principals, because they are immutable and returned repeatedly."""
    if _sound.get(id(principal)) is principal:
        return True
    if not _is_sound(principal):
        return False
    if len(_sound) >= MAX_REMEMBERED:
        _sound.clear()
    _sound[id(principal)] = principal
    return True


def _is_sound(principal: Principal) -> bool:
    """Whether every field has its type, every text can be on an audit row, and the app is not a reserved word of rules."""
    purposes, roles = principal.purposes, principal.roles
    return (
        all(_is_text(text) for text in (principal.app, principal.method, principal.credential_id))
        and not principal.app.startswith("@")
        and (principal.identity is None or _is_text(principal.identity))
        and (purposes is None or (isinstance(purposes, frozenset) and all(_is_purpose(each) for each in purposes)))
        and isinstance(roles, frozenset)
        and all(isinstance(role, Role) for role in roles)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and is_readable(value)


def _is_purpose(value: Any) -> bool:
    return isinstance(value, str) and PURPOSE.fullmatch(value) is not None


def _unsound(authenticator: Authenticator, what: str) -> PluginFailed:
    log.error(
        ("plugin returned an invalid answer"),
        extra={"plugin": authenticator.name, "error": (f"{what} that is invalid")},
    )
    return PluginFailed()
