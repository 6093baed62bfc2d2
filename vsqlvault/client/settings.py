"""How a client reaches its vault: address, TLS, credential, limits, hooks."""

from __future__ import annotations

import logging
import platform
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from os import PathLike, fspath
from typing import Any
from urllib.parse import urlsplit

import httpx

from vsqlvault.client.errors import Unusable
from vsqlvault.client.retries import Retries
from vsqlvault.client.version import __version__

log = logging.getLogger("vsqlvault.client")
KEY_HEADER = "X-Vault-Key"
JSON = "application/json"
Secret = str | Callable[[], str | Awaitable[str]]
"""A credential, or what gives the one to use now: it is asked before each attempt. Async clients also take a coroutine."""
Verify = bool | str | PathLike[str] | ssl.SSLContext
Cert = str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]]


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait: for a connection, for the next bytes of an answer, for sending, for a connection of the pool."""

    connect: float = 5.0
    read: float = 30.0
    write: float = 30.0
    pool: float = 10.0


@dataclass(frozen=True)
class Limits:
    """How many connections a client opens, how many it keeps, and for how many seconds an idle one."""

    connections: int = 20
    idle_connections: int = 20
    idle_seconds: float = 30.0


@dataclass(frozen=True)
class Attempt:
    """One attempt of one call, for tracing. ``route`` names no entry.

    The other members are None before the attempt. ``pause_seconds`` is None where no further attempt follows.
    ``max_seconds`` is for how long the call is tried in all, by what is known after this attempt.
    """

    method: str
    route: str
    number: int
    status: int | None = None
    request_id: str | None = None
    error: str | None = None
    seconds: float | None = None
    pause_seconds: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Hooks:
    """Functions that are called around each attempt. ``before`` may return headers to send, such as ``traceparent``.

    What a hook raises is logged and has no effect on the call.
    """

    before: Callable[[Attempt], Mapping[str, str] | None] | None = None
    after: Callable[[Attempt], None] | None = None

    def headers(self, attempt: Attempt) -> Mapping[str, str]:
        """Return the headers that ``before`` gives."""
        return (self._called(self.before, attempt) if self.before else None) or {}

    def tell(self, attempt: Attempt) -> None:
        """Call ``after``."""
        if self.after:
            self._called(self.after, attempt)

    @staticmethod
    def _called(hook: Callable[[Attempt], Any], attempt: Attempt) -> Any:
        try:
            return hook(attempt)
        except Exception as error:  # noqa: BLE001 - tracing must not change what a call does
            log.warning("a hook of the client failed: %s", type(error).__name__)
            return None


@dataclass(frozen=True)
class Settings:
    """The settings of one client, checked."""

    url: str
    key: Secret | None
    token: Secret | None
    key_header: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext | bool
    timeouts: Timeouts
    limits: Limits
    retries: Retries
    hooks: Hooks
    http2: bool
    proxy: str | None

    @property
    def asks_for_secret(self) -> bool:
        """Whether the credential is asked for at each attempt."""
        return callable(self.key) or callable(self.token)

    def options(self) -> dict[str, Any]:
        """Return what both kinds of httpx client take."""
        limits, times = self.limits, self.timeouts
        return {
            "headers": dict(self.headers),
            "verify": self.tls,
            "http2": self.http2,
            "proxy": self.proxy,
            "timeout": httpx.Timeout(connect=times.connect, read=times.read, write=times.write, pool=times.pool),
            "limits": httpx.Limits(
                max_connections=limits.connections,
                max_keepalive_connections=limits.idle_connections,
                keepalive_expiry=limits.idle_seconds,
            ),
            "trust_env": False,
            "follow_redirects": False,
        }

    def credential(self, secret: str | None) -> dict[str, str]:
        """Return the header of a credential. Raises Unusable: a header cannot hold it. The text names no secret."""
        if secret is None:
            return {}
        if (
            not isinstance(secret, str)
            or not secret
            or not (secret.isascii() and secret.isprintable())
            or " " in secret
        ):
            raise Unusable("key, token: expected printable ASCII without spaces")
        return {"Authorization": f"Bearer {secret}"} if self.token is not None else {self.key_header: secret}


def checked(
    url: str,
    *,
    key: Secret | None,
    token: Secret | None,
    key_header: str,
    verify: Verify,
    cert: Cert | None,
    timeouts: Timeouts | float,
    limits: Limits,
    retries: Retries,
    hooks: Hooks,
    user_agent: str | None,
    http2: bool,
    proxy: str | None,
    insecure_plaintext: bool,
) -> Settings:
    """Return the settings. Raises Unusable, with one sentence that holds no secret."""
    if key is not None and token is not None:
        raise Unusable("expected at most one of key and token")
    for name, given, kind in (("limits", limits, Limits), ("retries", retries, Retries), ("hooks", hooks, Hooks)):
        if not isinstance(given, kind):
            raise Unusable(f"{name}: expected {kind.__name__}")
    if isinstance(timeouts, bool) or not isinstance(timeouts, (int, float, Timeouts)):
        raise Unusable("timeouts: expected Timeouts, or seconds")
    address = _address(url, insecure_plaintext=insecure_plaintext)
    every = timeouts if isinstance(timeouts, Timeouts) else Timeouts(timeouts, timeouts, timeouts, timeouts)
    headers = {"User-Agent": user_agent or _user_agent(), "Accept": JSON, "Accept-Encoding": "identity"}
    tls = _tls(verify, cert) if address.startswith("https") else False
    return Settings(address, key, token, key_header, headers, tls, every, limits, retries, hooks, http2, proxy)


def _address(url: str, *, insecure_plaintext: bool) -> str:
    if not isinstance(url, str):
        raise Unusable("url: expected http:// or https:// and a host")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Unusable("url: expected http:// or https:// and a host") from None
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise Unusable("url: expected http:// or https:// and a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise Unusable("url: expected no user, query or fragment; a credential is given as key or token")
    if parts.scheme == "http" and not (insecure_plaintext or _is_loopback(host)):
        raise Unusable(
            "url: expected https://: plain HTTP would show the credential to the network (insecure_plaintext)"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _tls(verify: Verify, cert: Cert | None) -> ssl.SSLContext:
    """Return the TLS context: the authorities of the system, or those of a file, and the certificate of this client."""
    if isinstance(verify, ssl.SSLContext):
        context = verify
    else:
        try:
            is_file = not isinstance(verify, bool)
            context = ssl.create_default_context(cafile=fspath(verify) if is_file else None)  # type: ignore[arg-type]
        except (OSError, ssl.SSLError):
            raise Unusable("verify: expected a readable PEM file of certificates") from None
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        files = cert if isinstance(cert, tuple) else (cert, cert)
        try:
            context.load_cert_chain(fspath(files[0]), fspath(files[1]))
        except (OSError, ssl.SSLError):
            raise Unusable("cert: expected readable PEM files, a certificate and its key without a password") from None
    return context


def _user_agent() -> str:
    return f"vsqlvault-client/{__version__} python/{platform.python_version()} httpx/{httpx.__version__}"
