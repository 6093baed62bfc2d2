"""The sources of an issuer's keys: a file, a URL, or discovery."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from vsqlvault.errors import SettingsInvalid
from vsqlvault_plugins.auth.jwt.keys import MAX_JWKS_BYTES
from vsqlvault_plugins.auth.jwt.settings import JwtSettings, https_url
from vsqlvault_plugins.auth.jwt.strict import json_object

if TYPE_CHECKING:
    import h11

MAX_DISCOVERY_BYTES = 64 * 1024
DISCOVERY = "/.well-known/openid-configuration"
DEFAULT_PORTS = {"http": 80, "https": 443}
_READ_BYTES = 65536
_OK = 200


class NotFetched(Exception):
    """The keys could not be fetched. The text is the reason."""


class KeySource(Protocol):
    """A source of keys."""

    async def load(self) -> bytes:
        """Return the current JWK Set, at most a little more than ``MAX_JWKS_BYTES``.

        Raises:
            NotFetched, OSError.
        """
        ...


class FileSource:
    """Keys in a file, for issuers that cannot be reached."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes:
        """Read the file synchronously."""
        with self._path.open("rb") as file:
            return file.read(MAX_JWKS_BYTES + 1)

    async def load(self) -> bytes:
        """See ``KeySource.load``."""
        return await asyncio.to_thread(self.read)


class UrlSource:
    """Keys at a URL."""

    def __init__(self, url: str, context: ssl.SSLContext | None) -> None:
        self._url = url
        self._context = context

    async def load(self) -> bytes:
        """See ``KeySource.load``."""
        return await get(self._url, self._context, MAX_JWKS_BYTES)


class DiscoverySource:
    """Keys at the URL that the issuer's discovery document names (OpenID Connect Discovery 1.0, section 4)."""

    def __init__(self, issuer: str, context: ssl.SSLContext | None) -> None:
        self._issuer = issuer
        self._context = context

    async def load(self) -> bytes:
        """See ``KeySource.load``."""
        try:
            told = json_object(await get(self._issuer.rstrip("/") + DISCOVERY, self._context, MAX_DISCOVERY_BYTES))
        except ValueError as error:
            raise NotFetched(f"discovery: expected a JSON object, found {error}") from None
        if told.get("issuer") != self._issuer:
            raise NotFetched("discovery: expected the issuer of auth.jwt, found another name")
        return await get(self._jwks_url(told.get("jwks_uri")), self._context, MAX_JWKS_BYTES)

    def _jwks_url(self, found: object) -> str:
        """Return the URL, if it meets the requirements on URLs in the settings: discovery over TLS must not lead to
        plain HTTP.
        """
        try:
            url = https_url(str(found))
        except ValueError as error:
            raise NotFetched(f"discovery: expected jwks_uri to be {error}") from None
        if urlsplit(self._issuer).scheme == "https" != urlsplit(url).scheme:
            raise NotFetched("discovery: expected jwks_uri to be an https URL")
        return url


def source_of(settings: JwtSettings) -> KeySource:
    """Return the source in the settings.

    Raises:
        SettingsInvalid: ``ca_file`` cannot be used.
    """
    if settings.jwks_file is not None:
        return FileSource(Path(settings.jwks_file))
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SettingsInvalid(
            f"auth.jwt: {settings.issuer}: ca_file: expected certificates in PEM in {settings.ca_file}, found: {reason}"
        ) from None
    if settings.jwks_url is not None:
        return UrlSource(settings.jwks_url, context)
    return DiscoverySource(settings.issuer, context)


def port_of(url: str) -> int:
    """Return the port that a URL is fetched from."""
    split = urlsplit(url)
    return split.port or DEFAULT_PORTS[split.scheme]


async def get(url: str, context: ssl.SSLContext | None, max_bytes: int) -> bytes:
    """Return the body at a URL that ``https_url`` has accepted. Redirects are not followed, and no proxy is used.

    It has no timeout, and ends at once when it is cancelled.

    Raises:
        NotFetched: the response is not 200, or its body has more than ``max_bytes``.
        OSError: there is no response.
    """
    import h11  # noqa: PLC0415 - only an issuer with a URL needs it

    split = urlsplit(url)
    is_tls = split.scheme == "https"
    try:
        reader, writer = await asyncio.open_connection(split.hostname, port_of(url), ssl=context if is_tls else None)
    except UnicodeError:
        raise NotFetched("the host name is invalid") from None
    try:
        connection = h11.Connection(h11.CLIENT)
        target = (split.path or "/") + (f"?{split.query}" if split.query else "")
        headers = [
            ("Host", split.netloc),
            ("Accept", "application/json, application/jwk-set+json"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "vsqlvault"),
            ("Connection", "close"),
        ]
        writer.write(connection.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        return await _body(connection, reader, max_bytes)
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        raise NotFetched("the response is not HTTP/1.1, or is incomplete") from None
    finally:
        writer.transport.abort()


async def _body(connection: h11.Connection, reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    import h11  # noqa: PLC0415

    received = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            _check_head(event)
        elif isinstance(event, h11.Data):
            received += event.data
            if len(received) > max_bytes:
                raise NotFetched(f"expected at most {max_bytes} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(received)
        elif not isinstance(event, h11.InformationalResponse):
            raise NotFetched("the connection was closed before the response was complete")


def _check_head(response: h11.Response) -> None:
    if response.status_code != _OK:
        raise NotFetched(f"expected status {_OK}, found {response.status_code}")
    if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in response.headers):
        raise NotFetched("expected an uncompressed body")
