"""Answers readings on a connection."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from vsqlvault_plugins.storage.postgres.connections import Connection, Connections
from vsqlvault_plugins.storage.sql.dialect import POSTGRESQL
from vsqlvault_plugins.storage.sql.reading import Answer, Other, Reading, both


async def answer(connection: Connection, reading: Reading[Answer], consistently: bool = False) -> Answer:
    """Answer a reading. ``consistently``: all its queries from one state."""
    if consistently:
        async with _reading_of(connection):
            return await answer(connection, reading)
    try:
        wanted = next(reading)
        while True:
            sql, names = POSTGRESQL.render(wanted.query)
            wanted = reading.send(await connection.fetch(sql, *[wanted.parameters[name] for name in names]))
    except StopIteration as done:
        found: Answer = done.value
        return found


async def answer_both(
    connections: Connections, seconds: float, first: Reading[Answer], second: Reading[Other]
) -> tuple[Answer, Other]:
    """Answer two readings from one state: at once if a second connection can be spared, else one after the other.

    The second connection reads the snapshot of the first. Raises the errors of ``Connections.borrow`` and of the driver.
    """
    async with connections.borrow(seconds) as connection, connections.borrow_spare(seconds) as beside:
        if beside is None:
            return await answer(connection, both(first, second), consistently=True)
        async with _reading_of(connection), _reading_of(beside):
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            await beside.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            other = asyncio.create_task(answer(beside, second))
            try:
                return await answer(connection, first), await other
            finally:
                other.cancel()
                await asyncio.gather(other, return_exceptions=True)


def _reading_of(connection: Connection) -> AbstractAsyncContextManager[Any]:
    """Return a transaction whose queries all read one state."""
    transaction: AbstractAsyncContextManager[Any] = connection.transaction(isolation="repeatable_read", readonly=True)
    return transaction
