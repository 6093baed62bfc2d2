"""Reads a connection URL as libpq does: which hosts, how long each may take, which settings each session gets."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from vsqlvault.errors import SettingsInvalid
from vsqlvault.quick_dataclass import dataclass

DEFAULT_PORT = 5432
DEFAULT_CONNECT_SECONDS = 2.0
LEAST_CONNECT_SECONDS = 2.0
"""libpq takes 1 second for 2 as well."""

SETTING = "storage.database_url"
SCHEMES = ("postgresql", "postgres")
WRITING_ATTRIBUTES = ("any", "read-write", "primary", "prefer-primary")
OTHER_ATTRIBUTES = ("read-only", "standby", "prefer-standby")
_OF_THE_DRIVER = (
    "user", "password", "passfile", "dbname", "database", "sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert",
    "sslcrl", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib", "service",
)  # fmt: skip
_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SYSTEM_ROOTS = "system"
_OURS = ("host", "port", "connect_timeout", "target_session_attrs", "options", "application_name", "client_encoding")
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """One host of a URL. A host that begins with a slash is the directory of a Unix socket."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Dsn:
    """What a URL says.

    ``url`` is what the driver is given beside a host: user, database, TLS. ``addresses`` is empty where the URL and the
    environment name no host: the driver then tries the usual sockets. ``settings`` are those of ``options`` and
    ``application_name``; they go before those of the vault. ``uses_system_roots``: TLS is verified against the authorities that
    the system trusts (``sslrootcert=system``).
    """

    url: str
    addresses: tuple[Address, ...]
    connect_seconds: float
    settings: Mapping[str, str]
    uses_system_roots: bool = False


def parse_dsn(url: str, environment: Mapping[str, str] | None = None) -> Dsn:
    """Return what the URL says, completed by libpq's variables.

    Raises:
        SettingsInvalid: naming the parameter, what is expected and what was found; never the password.
    """
    variables = os.environ if environment is None else environment
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise _invalid("expected postgresql://user@host:port/database") from None
    if parts.scheme not in SCHEMES:
        raise _invalid("expected postgresql://user@host:port/database")
    _check_names(query)
    _check_attributes(query.get("target_session_attrs") or variables.get("PGTARGETSESSIONATTRS") or "any")
    if query.get("client_encoding", "UTF8").upper().replace("-", "") not in {"UTF8", "AUTO"}:
        raise _invalid("client_encoding: expected UTF8")
    uses_system_roots = _check_tls(query, variables)
    user, at, netloc = parts.netloc.rpartition("@")
    addresses = tuple(_addresses(netloc, query, variables))
    settings = dict(_options(query.get("options") or variables.get("PGOPTIONS") or ""))
    if name := query.get("application_name") or variables.get("PGAPPNAME"):
        settings["application_name"] = name
    tls = ("sslmode", "sslrootcert") if uses_system_roots else ()
    left = {name: value for name, value in query.items() if name in _OF_THE_DRIVER and name not in tls}
    return Dsn(
        urlunsplit(parts._replace(netloc=f"{user}{at}", query=urlencode(left, quote_via=quote))),
        addresses,
        _seconds(query.get("connect_timeout") or variables.get("PGCONNECT_TIMEOUT")),
        settings,
        uses_system_roots,
    )


def _invalid(why: str) -> SettingsInvalid:
    return SettingsInvalid(f"{SETTING}: {why}")


def _check_names(query: Mapping[str, str]) -> None:
    known = (*_OURS, *_OF_THE_DRIVER)
    for name in query:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise _invalid(f"expected parameters of a PostgreSQL URL that are supported, found {name!r}{hint}")


def _check_attributes(value: str) -> None:
    if value in OTHER_ATTRIBUTES:
        raise _invalid(f"target_session_attrs: expected read-write, because a vault writes, found {value!r}")
    if value not in WRITING_ATTRIBUTES:
        raise _invalid(f"target_session_attrs: expected read-write, primary or any, found {value!r}")


def _check_tls(query: Mapping[str, str], variables: Mapping[str, str]) -> bool:
    """Return whether the system's authorities verify the server. Raises SettingsInvalid."""
    mode = query.get("sslmode") or variables.get("PGSSLMODE")
    if mode is not None and mode not in SSL_MODES:
        raise _invalid(f"sslmode: expected one of {', '.join(SSL_MODES)}, found {mode!r}")
    uses_system_roots = (query.get("sslrootcert") or variables.get("PGSSLROOTCERT")) == SYSTEM_ROOTS
    if uses_system_roots and mode not in {None, "verify-full"}:
        raise _invalid(f"sslmode: expected verify-full beside sslrootcert=system, found {mode!r}")
    for name in _FILES:
        path = query.get(name)
        if path and not (uses_system_roots and name == "sslrootcert"):
            try:
                Path(path).open("rb").close()
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "no path"
                raise _invalid(f"{name}: expected a readable file, found: {why}") from None
    return uses_system_roots


def _seconds(value: str | None) -> float:
    """Return how long a host may take to accept a connection. 0 and less, libpq's "for ever", is the default here."""
    if value is None:
        return DEFAULT_CONNECT_SECONDS
    try:
        seconds = int(value)
    except ValueError:
        raise _invalid(f"connect_timeout: expected a whole number of seconds, found {value!r}") from None
    return max(float(seconds), LEAST_CONNECT_SECONDS) if seconds > 0 else DEFAULT_CONNECT_SECONDS


def _addresses(netloc: str, query: Mapping[str, str], variables: Mapping[str, str]) -> Iterator[Address]:
    """Give each host with its port, from the URL, its query or the variables, as libpq pairs them."""
    found = [_host_and_port(unquote(each)) for each in netloc.split(",")] if netloc else []
    if not any(host for host, _ in found):
        found = [_host_and_port(each) for each in (query.get("host") or variables.get("PGHOST") or "").split(",")]
    if not any(host for host, _ in found):
        return
    ports = (query.get("port") or variables.get("PGPORT") or str(DEFAULT_PORT)).split(",")
    if len(ports) == 1:
        ports *= len(found)
    if len(ports) != len(found):
        raise _invalid(f"expected one port or a port for each of {len(found)} hosts, found {len(ports)}")
    for (host, port), usual in zip(found, ports, strict=True):
        if not host:
            raise _invalid("expected a host between two commas, found none")
        yield Address(host, _port(port or usual))


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("/"):
        return text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or port[:1] not in {"", ":"}:
            raise _invalid("expected an IPv6 address in brackets")
        return host, port[1:]
    host, _, port = text.partition(":")
    return host, port


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_PORT):
        raise _invalid(f"expected a port from 1 to {_MAX_PORT}, found {text!r}")
    return int(text)


def _options(text: str) -> Iterator[tuple[str, str]]:
    """Give the settings of ``-c name=value`` and ``--name=value``; a backslash keeps a blank."""
    try:
        words = iter(shlex.split(text.replace("'", "\\'").replace('"', '\\"')))
    except ValueError:
        raise _invalid("options: expected -c name=value, found a backslash at the end") from None
    for word in words:
        if word == "-c":
            setting = next(words, "")
        elif word.startswith("-c"):
            setting = word[2:]
        elif word.startswith("--"):
            setting = word[2:].replace("-", "_")
        else:
            setting = ""
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise _invalid(f"options: expected -c name=value or --name=value, found {word!r}")
        yield name.strip().lower().replace("-", "_"), value
