"""Connections to one database: settings of a session, transactions, and errors as those of the vault."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiomysql
from pymysql import err

from vsqlvault.errors import OutcomeUnknown, SettingsInvalid, StorageFull, StorageUnavailable, Unavailable, VaultError

DEFAULT_PORT = 3306
CONNECT_SECONDS = 10
POOL_SIZE = 8
SESSION = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION sql_notes = 0,"
    " SESSION tx_isolation = 'READ-COMMITTED', SESSION innodb_lock_wait_timeout = 30, SESSION time_zone = '+00:00'"
)
_FULL = frozenset({1021, 1041, 1114, 3, 28})
"""Codes of a full disk or table."""
_LOST = frozenset({2002, 2003, 2006, 2013, 2055, 1053, 1077, 1079, 1927})
"""Codes of a connection that is gone, or of a server that stops."""
_WAITED = frozenset({1205, 1213})


class Connections:
    """A pool. ``close`` waits for what is in progress."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closing = False

    @classmethod
    async def open(cls, url: str) -> Connections:
        """Connect to ``mariadb://user:password@host:port/database``, or with ``?unix_socket=/path``."""
        options = options_of(url)
        with translated():
            if authority := options.pop("ssl_ca", None):
                options["ssl"] = ssl.create_default_context(cafile=authority)
            pool = await aiomysql.create_pool(
                minsize=1, maxsize=POOL_SIZE, autocommit=True, charset="utf8mb4", use_unicode=True,
                connect_timeout=CONNECT_SECONDS, init_command=SESSION, **options,
            )  # fmt: skip
        return cls(pool)

    async def close(self) -> None:
        """Wait for what is in progress, and close every connection."""
        self._is_closing = True
        await self._idle.wait()
        self._pool.close()
        await self._pool.wait_closed()

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Any]:
        """Lend a cursor of one connection. After an error, or when cancelled, the connection is not used again."""
        if self._is_closing:
            raise StorageUnavailable("the storage is closed")
        self._active += 1
        self._idle.clear()
        try:
            with translated():
                connection = await self._pool.acquire()
                try:
                    async with connection.cursor() as cursor:
                        yield cursor
                except BaseException:
                    connection.close()
                    raise
                finally:
                    self._pool.release(connection)
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Lend a cursor in a transaction, which is committed at the end of the block, unless it raises.

        Raises:
            OutcomeUnknown: the connection was lost during the commit.
        """
        async with self.borrow() as cursor:
            await cursor.execute("START TRANSACTION")
            yield cursor
            try:
                await cursor.execute("COMMIT")
            except (err.OperationalError, err.InternalError, ConnectionError) as error:
                raise OutcomeUnknown from error

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of one statement."""
        async with self.borrow() as cursor:
            return await fetched(cursor, sql, parameters)


async def fetched(cursor: Any, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Return the rows of one statement."""
    await cursor.execute(sql, parameters)
    return list(await cursor.fetchall())


@contextmanager
def translated() -> Iterator[None]:
    """Raise the driver's errors as those of the vault."""
    try:
        yield
    except VaultError:
        raise
    except (err.MySQLError, OSError, RuntimeError, asyncio.IncompleteReadError) as error:
        raise _translation(error) from error


def _translation(error: BaseException) -> VaultError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code in _FULL:
        found: VaultError = StorageFull()
    elif code in _LOST or code in _WAITED or not isinstance(error, err.MySQLError) or not code:
        found = StorageUnavailable(f"MariaDB is not available ({code or type(error).__name__})")
    elif isinstance(error, err.OperationalError) and 1040 <= code <= 1045:  # noqa: PLR2004 - refused at the door
        found = StorageUnavailable(f"MariaDB refuses the connection ({code})")
    else:
        found = Unavailable(f"MariaDB refuses the statement ({code})")
    found.driver_code = str(code)
    return found


def options_of(url: str) -> dict[str, Any]:
    """Return the driver's options for a URL, and ``ssl_ca``, the path of a file.

    Raises:
        SettingsInvalid: it names no database.
    """
    try:
        parts = urlsplit(url)
        query = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise SettingsInvalid("storage.database_url: expected mariadb://user:password@host:port/database") from None
    unknown = set(query) - {"unix_socket", "ssl_ca"}
    if unknown or not parts.path.strip("/"):
        found = f"the option {min(unknown)}" if unknown else "no database"
        raise SettingsInvalid(
            f"storage.database_url: expected mariadb://user:password@host:port/database, found {found}"
        )
    options: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "db": unquote(parts.path.strip("/")),
    }
    return options | query
