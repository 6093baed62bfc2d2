"""Posts exported rows to an HTTP endpoint as NDJSON, signed by HMAC."""

from __future__ import annotations

import asyncio
import hmac
import os
import ssl
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator

from vsqlvault.config import Section
from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.log_sink import ExportedRow, LogSink, LogSinkKind

TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class HttpSinkSettings(Section):
    """``[[export]]`` with ``kind = "http"``. The variables hold the HMAC key and a bearer token."""

    url: str
    hmac_key_env: Variable
    token_env: Variable | None = None
    ca_file: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("url")
    @classmethod
    def _secure(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("an https:// URL, or http:// on the loopback")
        if not parts.hostname or parts.username or parts.fragment:
            raise ValueError("a URL with a host, without a user and a fragment")
        return value


def port_of(url: str) -> int:
    """Return the port that a URL names, or that of its scheme."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


class HttpSink(LogSink):
    """One POST for each batch. Any answer but a 2xx means that the batch is sent again."""

    def __init__(self, url: str, key: bytes, token: str | None, trust: ssl.SSLContext | None) -> None:
        self._url: SplitResult = urlsplit(url)
        self._port = port_of(url)
        self._key = key
        self._token = token
        self._trust = trust

    async def deliver(self, rows: Sequence[ExportedRow]) -> None:
        """See ``LogSink.deliver``. Raises OSError, http.client.HTTPException."""
        await asyncio.to_thread(self._post, rows)

    def _post(self, rows: Sequence[ExportedRow]) -> None:
        body = b"".join(row.line() + b"\n" for row in rows)
        connection = self._connection()
        try:
            target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
            connection.request("POST", target, body, self._headers(rows, body))
            answer = connection.getresponse()
            answer.read(MAX_ANSWER_BYTES)
            if not 200 <= answer.status < 300:  # noqa: PLR2004 - the class of success
                raise HTTPException(f"the endpoint answered {answer.status}")
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        host = self._url.hostname or ""
        if self._trust is None:
            return HTTPConnection(host, self._port, timeout=TIMEOUT_SECONDS)
        return HTTPSConnection(host, self._port, timeout=TIMEOUT_SECONDS, context=self._trust)

    def _headers(self, rows: Sequence[ExportedRow], body: bytes) -> dict[str, str]:
        at = str(int(time.time()))
        headers = {
            "Content-Type": "application/x-ndjson",
            "X-Vault-First-Index": str(rows[0].index),
            "X-Vault-Last-Index": str(rows[-1].index),
            "X-Vault-Timestamp": at,
            "X-Vault-Signature": "v1=" + hmac.digest(self._key, at.encode() + b"." + body, "sha256").hex(),
        }
        return headers | ({"Authorization": f"Bearer {self._token}"} if self._token else {})


class HttpSinks(LogSinkKind):
    """Opens HTTP endpoints."""

    name = "http"
    model = HttpSinkSettings

    def open(self, name: str, chosen: HttpSinkSettings) -> LogSink:
        """See ``LogSinkKind.open``. Raises SettingsInvalid: a variable is empty, or the CA file cannot be read."""
        key = _variable(name, "hmac_key_env", chosen.hmac_key_env)
        token = _variable(name, "token_env", chosen.token_env) if chosen.token_env else None
        is_secure = urlsplit(chosen.url).scheme == "https"
        trust = trusting(name, chosen.ca_file) if is_secure else None
        return HttpSink(chosen.url, key.encode(), token, trust)


def trusting(name: str, ca_file: str | None) -> ssl.SSLContext:
    """Return a TLS context that trusts a file of certificates; None: those of the system. Raises SettingsInvalid."""
    try:
        context = ssl.create_default_context(cafile=ca_file and str(Path(ca_file)))
    except OSError as error:
        found = error.strerror or "another content"
        raise SettingsInvalid(
            f"export.{name}.ca_file: expected a readable file of PEM certificates, found: {found}"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _variable(name: str, key: str, variable: str) -> str:
    if found := os.environ.get(variable):
        return found
    raise SettingsInvalid(f"export.{name}.{key}: expected a value in the variable {variable}, found none")
