"""What both kinds of client have in common."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import httpx

from vsqlvault.client.environment import read_access
from vsqlvault.client.retries import HOST_NOT_FOUND, Attempts, Broken, Outcome, Retries, is_contact
from vsqlvault.client.settings import (
    KEY_HEADER,
    Attempt,
    Cert,
    Hooks,
    Limits,
    Secret,
    Settings,
    Timeouts,
    Verify,
    checked,
)
from vsqlvault.client.wire import Answer, Request

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
Kind = TypeVar("Kind", bound="Base")
JSON_TYPE = ("Content-Type", "application/json")


class Base:
    """The settings of a client, and one attempt's beginning and end."""

    def __init__(
        self,
        url: str,
        *,
        key: Secret | None = None,
        token: Secret | None = None,
        cert: Cert | None = None,
        verify: Verify = True,
        key_header: str = KEY_HEADER,
        timeouts: Timeouts | float = Timeouts(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008 - frozen
        retries: Retries = Retries(),  # noqa: B008 - frozen
        hooks: Hooks = Hooks(),  # noqa: B008 - frozen
        user_agent: str | None = None,
        http2: bool = False,
        proxy: str | None = None,
        insecure_plaintext: bool = False,
        transport: Any = None,
        sleep: Callable[[float], Any] | None = None,
    ) -> None:
        """Make a client of the vault at ``url``; nothing is sent yet.

        The credential is an API ``key``, a ``token``, or a client certificate ``cert`` (a PEM file, or certificate and key). A
        key or a token may be a function: it is called before each attempt. ``verify`` is a PEM file of authorities or an
        ``ssl.SSLContext``; by default those of the system. ``timeouts`` are ``Timeouts``, or seconds for each of them.
        ``insecure_plaintext`` allows ``http://`` to other hosts than the loopback. ``http2`` needs the package ``h2``.
        ``transport`` and ``sleep`` replace the network and the waiting, for tests. Proxies in the environment are not used.

        Raises:
            Unusable: a setting cannot be used.
        """
        self._settings: Settings = checked(
            url,
            key=key,
            token=token,
            key_header=key_header,
            verify=verify,
            cert=cert,
            timeouts=timeouts,
            limits=limits,
            retries=retries,
            hooks=hooks,
            user_agent=user_agent,
            http2=http2,
            proxy=proxy,
            insecure_plaintext=insecure_plaintext,
        )
        self._has_answered = False
        self._open(transport, sleep)

    @classmethod
    def from_environment(cls: type[Kind], profile: str | None = None, **options: Any) -> Kind:
        """Make a client by the variables ``VSQL_VAULT_ADDR``, ``VSQL_VAULT_KEY`` and so on, or by a profile of the user.

        Raises:
            Unusable: the profile does not exist, or a setting cannot be used.
        """
        access = read_access(profile)
        return cls(access.addr, **{**access.options(), **options})

    def _open(self, transport: Any, sleep: Callable[[float], Any] | None) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings.url}>"

    @property
    def _secret(self) -> Secret | None:
        return self._settings.key if self._settings.key is not None else self._settings.token

    def _attempts(self, request: Request[Any]) -> Attempts[Any]:
        settings = self._settings
        return Attempts(
            request,
            settings.retries,
            clock=time.monotonic,
            new_credential=settings.asks_for_secret,
            has_answered=self._has_answered,
        )

    def _headers(self, request: Request[Any], secret: str | None, attempt: Attempt) -> dict[str, str]:
        """Return the headers of one attempt. Those of the request win over those of a hook, the credential over both."""
        headers = {**self._settings.hooks.headers(attempt), **dict(request.headers)}
        if request.body is not None:
            headers[JSON_TYPE[0]] = JSON_TYPE[1]
        return {**headers, **self._settings.credential(secret)}

    def _tell(
        self, attempts: Attempts[Any], attempt: Attempt, outcome: Outcome, started_at: float, pause: float | None
    ) -> None:
        self._has_answered = self._has_answered or is_contact(outcome)
        if not self._settings.hooks.after:
            return
        if isinstance(outcome, Answer):
            attempt = replace(attempt, status=outcome.status, request_id=outcome.request_id)
        else:
            attempt = replace(attempt, error=outcome.reason)
        seconds, limit = time.monotonic() - started_at, attempts.max_seconds(outcome)
        self._settings.hooks.tell(replace(attempt, seconds=seconds, pause_seconds=pause, max_seconds=limit))


def answer_of(response: httpx.Response, body: bytes) -> Answer:
    """Return the answer that a whole response is."""
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def broken_by(error: httpx.RequestError) -> Broken:
    """Return the outcome of an attempt that ended with an error; of the error its kind is kept, and nothing of the request."""
    reason = HOST_NOT_FOUND if _is_unresolved(error) else type(error).__name__
    return Broken(reason, was_sent=not isinstance(error, NOT_SENT))


def _is_unresolved(error: BaseException | None) -> bool:
    """Whether the host name does not exist. A resolver that fails for a while (``EAI_AGAIN``) does not say that."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return error.errno != socket.EAI_AGAIN
        error = error.__cause__ or error.__context__
    return False
