"""The ports and files that a connection to PostgreSQL uses, including those of libpq's conventions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from vsqlvault.model.sandbox import ProcessNeeds

DEFAULT_PORT = 5432
_FILE_PARAMETERS = ("passfile", "servicefile", "sslcert", "sslkey", "sslrootcert", "sslcrl")
_FILE_VARIABLES = ("PGPASSFILE", "PGSERVICEFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "PGSSLCRL")
_IN_HOME = (".pgpass", ".pg_service.conf", ".postgresql")


def needs_of(url: str, environment: Mapping[str, str] | None = None) -> ProcessNeeds:
    """Return what connections to this URL need, now and later.

    A service file may name any host, so with one any port is needed. The list of users is needed if the user or the
    home directory is unknown.
    """
    environment = os.environ if environment is None else environment
    try:
        parts = urlsplit(url)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        ports = frozenset(_ports(parts.netloc.rpartition("@")[2], query, environment))
    except ValueError:  # connecting reports what is wrong with it
        return ProcessNeeds()
    files = [query[name] for name in _FILE_PARAMETERS if query.get(name)]
    files += [environment[name] for name in _FILE_VARIABLES if environment.get(name)]
    if environment.get("HOME"):
        files += [str(Path(environment["HOME"], name)) for name in _IN_HOME]
    if not environment.get("HOME") or not (parts.username or "user" in query or environment.get("PGUSER")):
        files.append("/etc/passwd")
    uses_service = "service" in query or bool(environment.get("PGSERVICE"))
    return ProcessNeeds(readable=tuple(files), connect_ports=None if uses_service else tuple(sorted(ports)))


def _ports(hosts: str, query: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[int]:
    """Yield every port in the URL and the environment. A port too many does no harm."""
    for host in f"{hosts},{query.get('host', '')},{environment.get('PGHOST', '')}".split(","):
        if port := unquote(host).rpartition("]")[2].partition(":")[2]:
            yield int(port)
    for port in (query.get("port") or environment.get("PGPORT") or str(DEFAULT_PORT)).split(","):
        yield int(port)
