"""The server behind a URL: connecting to it, and whether it is fit to keep a vault."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import unquote, urlsplit
from weakref import WeakSet

import asyncpg

from vsqlvault.errors import StorageUnavailable, UnsafeStorage, VaultError
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.postgres import sessions
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.postgres.dialing import Dialer, NoHost
from vsqlvault_plugins.storage.postgres.dsn import Address, parse_dsn
from vsqlvault_plugins.storage.postgres.failures import translated
from vsqlvault_plugins.storage.postgres.fencing import Fence, Incarnation

PoolerMode = Literal["session", "transaction"]
_DURABLE = {"fsync": "on", "full_page_writes": "on"}
_NOT_ON_A_STANDBY = {
    "local": "is not on any standby yet when it is acknowledged",
    "remote_write": "may not be on a standby's disk yet when it is acknowledged",
}
_SYNC_REPLICATION = "SyncRepWaitForLSN"
_SENTENCES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (asyncpg.InvalidCatalogNameError, "there is no database {database}: createdb{options} -O {role} {database}"),
    (asyncpg.InvalidPasswordError, "the server refuses the password of the role {role}"),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the server does not let the role {role} in: createuser{options} {role}, or check its pg_hba.conf",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        "the role {role} may not make the schema vault: psql{options} -c 'GRANT CREATE ON DATABASE {database} TO {role}'",
    ),
    (asyncpg.CannotConnectNowError, "the server at {address} is starting or stopping"),
    (asyncpg.TooManyConnectionsError, "the server at {address} has no free connection"),
    (
        (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError),
        "the pooler at {address} keeps no prepared statements: set its pool_mode to session, or pooler_mode to transaction",
    ),
    (TimeoutError, "the server at {address} does not answer"),
    (
        ssl.SSLCertVerificationError,
        "the certificate of the server at {address} is not trusted: see sslrootcert and sslmode",
    ),
    (ssl.SSLError, "TLS with the server at {address} failed"),
    (OSError, "no answer at {address}: is PostgreSQL running there?"),
    ((ValueError, asyncpg.ClientConfigurationError), "expected postgresql://user@host:port/database"),
)


@dataclass(frozen=True, slots=True)
class _Dialed:
    """A connection, and what it has found."""

    connection: Connection
    facts: Mapping[str, Any]
    address: str

    def terminate(self) -> None:
        self.connection.terminate()


class Server:
    """What is known of the server, from its URL and from the newest connection to it."""

    def __init__(self, url: str, *, pooler_mode: PoolerMode = "session", prepared_statements: bool = True) -> None:
        """Raises SettingsInvalid: the URL is none, or asks for what is not supported."""
        self._dsn = parse_dsn(url)
        self._parts = urlsplit(url)
        self._pooler_mode = pooler_mode
        self._options: dict[str, Any] = {} if prepared_statements else {"statement_cache_size": 0}
        if self._dsn.uses_system_roots:
            self._options["ssl"] = ssl.create_default_context()
        self._facts: dict[str, Any] = {}
        self._is_pooled = False
        self._unreplicated: WeakSet[Connection] = WeakSet()
        self._dialer: Dialer[Address | None, _Dialed] = Dialer(
            self._dsn.addresses or (None,), self._dial, lambda dialed: int(dialed.facts["timeline"])
        )
        self.fence = Fence()

    @property
    def connect_seconds(self) -> float:
        """How long a host may take to accept a connection."""
        return self._dsn.connect_seconds

    async def connect(self) -> Connection:
        """Return a new connection to a server that is fit and takes writes.

        Raises:
            StorageUnavailable, UnsafeStorage: with one sentence.
        """
        try:
            dialed = await self._dialer.connect()
        except NoHost as none:
            raise self._explained_all(none.failures) from next(iter(none.failures.values()))
        try:
            self.fence.admit(Incarnation.of(dialed.facts), dialed.address)
        except UnsafeStorage:
            dialed.terminate()
            raise
        self._facts.update(dialed.facts)
        return dialed.connection

    async def check_pooler(self, connection: Connection) -> None:
        """See that a pooler between the vault and the server keeps sessions, as is configured.

        Raises:
            StorageUnavailable, UnsafeStorage: with one sentence.
        """
        if not self._is_pooled:
            return
        other = await self.connect()
        try:
            await sessions.check_kept(connection, other, self._dsn.settings)
        except asyncpg.PostgresError as error:
            raise self.explained(error) from error
        finally:
            other.terminate()

    @property
    def has_citus(self) -> bool:
        """Whether the database has the extension ``citus``."""
        return bool(self._facts.get("has_citus"))

    def forget_host(self) -> None:
        """Take no host for good any more: one has not answered in time."""
        self._dialer.forget()

    def is_replicated(self, connection: Connection) -> bool:
        """Whether every commit on this connection has waited for its standby as long as configured."""
        return connection not in self._unreplicated

    async def _dial(self, address: Address | None) -> _Dialed:
        async with asyncio.timeout(self._dsn.connect_seconds):
            target = {} if address is None else {"host": address.host, "port": address.port}
            connection: Connection = await asyncpg.connect(
                self._dsn.url, timeout=self._dsn.connect_seconds, **target, **self._options
            )
            try:
                facts = await self._look_at(connection)
                self.fence.check(Incarnation.of(facts), str(address or self.address))
            except BaseException:
                connection.terminate()
                raise
            return _Dialed(connection, facts, str(address or self.address))

    async def _look_at(self, connection: Connection) -> Mapping[str, Any]:
        """Set the session up, and return the facts of its server. Raises UnsafeStorage, whatever the driver raises."""
        facts = dict(await connection.fetchrow(QUERIES["server"]) or {})
        _check(facts)
        connection.add_log_listener(self._hear)
        own = {**sessions.ON_CITUS, **self._dsn.settings} if facts["has_citus"] else self._dsn.settings
        if self._pooler_mode == "transaction":
            await sessions.check(connection, own)
        else:
            self._is_pooled = facts["backend_pid"] != connection.get_server_pid()
            await sessions.set_up(connection, own, is_pooled=self._is_pooled)
        return facts

    def _hear(self, connection: Any, message: Any) -> None:
        """Mark a connection whose commit was configured not to wait for a standby: it is durable here, and perhaps
        nowhere else.
        """
        if message.server_source_function == _SYNC_REPLICATION:
            self._unreplicated.add(connection)

    def _explained_all(self, failures: Mapping[Address | None, BaseException]) -> VaultError:
        """Return one error for all hosts: why each is not used."""
        if len(failures) == 1:
            return self.explained(next(iter(failures.values())))
        said = [
            f"{address}: {_told(error) or self._sentence(error, address) or type(error).__name__}"
            for address, error in failures.items()
        ]
        unsafe = all(isinstance(error, UnsafeStorage) for error in failures.values())
        return (UnsafeStorage if unsafe else StorageUnavailable)("no host takes writes: " + "; ".join(said))

    async def look_at_owner(self, connection: Connection) -> None:
        """Determine whether this role could drop the triggers of the logs."""
        self._facts["owns_logs"] = bool(await connection.fetchval(QUERIES["owner"]))

    def describe(self) -> Mapping[str, Any]:
        """Return information for operators, without secrets."""
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
            "synchronous_standby_names": facts.get("synchronous_standby_names"),
            "durability_warning": _durability_warning(facts),
            "timeline": facts.get("timeline"),
        }

    @property
    def address(self) -> str:
        """Return host and port as the URL gives them, without user or password."""
        return self._parts.netloc.rpartition("@")[2] or "the default server"

    def explained(self, error: BaseException) -> VaultError:
        """Return the error as one sentence for the operator, with the command that helps, if there is one."""
        if isinstance(error, VaultError):
            return error
        sentence = self._sentence(error)
        return StorageUnavailable(sentence) if sentence else translated(error, committing=False)

    def _sentence(self, error: BaseException, address: Address | None = None) -> str | None:
        if type(error) is ConnectionError:  # of the driver's own making
            return "the server at {address} offers no TLS, which sslmode requires".format(**self._words(address))
        for kinds, sentence in _SENTENCES:
            if isinstance(error, kinds):
                return sentence.format(**self._words(address))
        return None

    def _words(self, address: Address | None) -> dict[str, str]:
        if address is None and len(self._dsn.addresses) == 1:
            address = self._dsn.addresses[0]
        role = unquote(self._parts.username or "") or "(the system user)"
        options = f" -h {address.host} -p {address.port}" if address else ""
        return {
            "role": role,
            "database": unquote(self._parts.path.lstrip("/")) or role,
            "options": f"{options} -U postgres",
            "address": str(address or self.address),
        }


def _is_durable(facts: Mapping[str, Any]) -> bool:
    is_flushed = all(facts.get(setting) == safe for setting, safe in _DURABLE.items())
    return is_flushed and facts.get("synchronous_commit") != "off"


def _durability_warning(facts: Mapping[str, Any]) -> str | None:
    """Return what a fail-over could lose although standbys are configured to keep it, or None."""
    level, names = facts.get("synchronous_commit"), facts.get("synchronous_standby_names")
    if not names or level not in _NOT_ON_A_STANDBY:
        return None
    return (
        f"synchronous_commit={level} with synchronous_standby_names={names}: what is acknowledged {_NOT_ON_A_STANDBY[level]},"
        " and a fail-over may lose it; set synchronous_commit=on"
    )


def _told(error: BaseException) -> str | None:
    return str(error) if isinstance(error, VaultError) else None


def _check(facts: Mapping[str, Any]) -> None:
    """Raise UnsafeStorage where the server would lose what was acknowledged, cannot hold every text, or takes no writes."""
    for setting, safe in _DURABLE.items():
        if facts[setting] != safe:
            raise UnsafeStorage(f"PostgreSQL must run with {setting}={safe}, but has {setting}={facts[setting]}")
    if facts["synchronous_commit"] == "off":
        raise UnsafeStorage("PostgreSQL must not run with synchronous_commit=off: set it on, or local")
    if facts["encoding"] != "UTF8":
        raise UnsafeStorage(f"the database must have the encoding UTF8, but has {facts['encoding']}")
    if facts["is_standby"]:
        raise UnsafeStorage("the server is a standby, which takes no writes: connect to its primary")
    if facts["read_only"] == "on":
        raise UnsafeStorage("the server has default_transaction_read_only=on, and takes no writes")
