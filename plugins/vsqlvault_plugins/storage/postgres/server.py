"""The server behind a URL: connecting to it, and whether it is fit to keep a vault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import asyncpg

from vsqlvault.errors import StorageUnavailable, UnsafeStorage, VaultError
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.postgres.failures import translated

CONNECT_SECONDS = 2.0
_DURABLE = {"fsync": "on", "full_page_writes": "on"}
_SETTINGS = {
    "application_name": "vsqlvault",
    "timezone": "UTC",
    "lock_timeout": "2000",
    "statement_timeout": "30000",
    "idle_in_transaction_session_timeout": "10000",
    "jit": "off",
    # Every statement here looks rows up by an index. What the planner thinks of an empty table must not stay its opinion
    # of a full one, so it plans once, and for a full one.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
_SENTENCES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (asyncpg.InvalidCatalogNameError, "there is no database {database}: createdb{options} -O {role} {database}"),
    (asyncpg.InvalidPasswordError, "the server refuses the password of the role {role}"),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the server does not let the role {role} in: createuser{options} {role}, or look at its pg_hba.conf",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        "the role {role} may not make the schema vault: psql{options} -c 'GRANT CREATE ON DATABASE {database} TO {role}'",
    ),
    (asyncpg.CannotConnectNowError, "the server at {address} is starting or stopping"),
    (asyncpg.TooManyConnectionsError, "the server at {address} has no connection to spare"),
    (TimeoutError, "the server at {address} does not answer"),
    (OSError, "nobody answers at {address}: is PostgreSQL running there?"),
    ((ValueError, asyncpg.ClientConfigurationError), "expected postgresql://user@host:port/database"),
)


class Server:
    """What is known of the server, from its URL and from the newest connection to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._parts = _split(url)
        self._facts: dict[str, Any] = {}

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Take what a connection found.

        Raises:
            UnsafeStorage: it would lose what was acknowledged, or cannot hold every text.
        """
        self._facts.update(facts)
        for setting, safe in _DURABLE.items():
            if facts[setting] != safe:
                raise UnsafeStorage(f"PostgreSQL must run with {setting}={safe}, but has {setting}={facts[setting]}")
        if facts["synchronous_commit"] == "off":
            raise UnsafeStorage("PostgreSQL must not run with synchronous_commit=off: set it on, or local")
        if facts["encoding"] != "UTF8":
            raise UnsafeStorage(f"the database must have the encoding UTF8, but has {facts['encoding']}")
        if facts["is_standby"]:
            raise UnsafeStorage("the server is a standby, which takes no writes: connect to its primary")

    async def look_at_owner(self, connection: Connection) -> None:
        """Find out whether this role could take the triggers off the logs."""
        self._facts["owns_logs"] = bool(await connection.fetchval(QUERIES["owner"]))

    def describe(self) -> Mapping[str, Any]:
        """Return what an operator should know, without secrets."""
        facts = self._facts
        return {
            "product": "PostgreSQL",
            "durable": _is_durable(facts),
            "version": facts.get("version"),
            "server": self.address,
            "database": facts.get("database"),
            "role": facts.get("role"),
            "role_owns_logs": bool(facts.get("is_superuser") or facts.get("owns_logs")),
            "fsync": facts.get("fsync"),
            "full_page_writes": facts.get("full_page_writes"),
            "synchronous_commit": facts.get("synchronous_commit"),
        }

    @property
    def address(self) -> str:
        """Return host and port as the URL gives them, without user or password."""
        return self._parts.netloc.rpartition("@")[2] or "the default server"

    def explained(self, error: BaseException) -> VaultError:
        """Return the error as one sentence for whoever starts the server, with the command that helps where there is one."""
        if isinstance(error, VaultError):
            return error
        sentence = self._sentence(error)
        return StorageUnavailable(sentence) if sentence else translated(error, committing=False)

    def _sentence(self, error: BaseException) -> str | None:
        for kinds, sentence in _SENTENCES:
            if isinstance(error, kinds):
                return sentence.format(**self._words())
        return None

    def _words(self) -> dict[str, str]:
        parts = self._parts
        role = unquote(parts.username or "") or "(the system user)"
        host, port = parts.hostname, _port(parts)
        options = (f" -h {host}" if host else "") + (f" -p {port}" if port else "")
        return {
            "role": role,
            "database": unquote(parts.path.lstrip("/")) or role,
            "options": f"{options} -U postgres",
            "address": self.address,
        }


def _is_durable(facts: Mapping[str, Any]) -> bool:
    is_flushed = all(facts.get(setting) == safe for setting, safe in _DURABLE.items())
    return is_flushed and facts.get("synchronous_commit") != "off"


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        return None


async def connect(server: Server) -> Connection:
    """Return a new connection to a server that is fit.

    Raises:
        StorageUnavailable, UnsafeStorage: with one sentence.
    """
    try:
        connection: Connection = await asyncpg.connect(server.url, timeout=CONNECT_SECONDS, server_settings=_SETTINGS)
    except Exception as error:
        raise server.explained(error) from error
    try:
        facts = await connection.fetchrow(QUERIES["server"], timeout=CONNECT_SECONDS)
        server.learn(dict(facts or {}))
    except Exception as error:
        connection.terminate()
        raise server.explained(error) from error
    return connection
