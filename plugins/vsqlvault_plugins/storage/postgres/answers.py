"""Answers readings on a connection."""

from __future__ import annotations

from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql.dialect import POSTGRESQL
from vsqlvault_plugins.storage.sql.reading import Answer, Reading


async def answer(connection: Connection, reading: Reading[Answer], consistently: bool = False) -> Answer:
    """Answer a reading. ``consistently``: all its queries from one state."""
    if consistently:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await answer(connection, reading)
    try:
        wanted = next(reading)
        while True:
            sql, names = POSTGRESQL.render(wanted.query)
            wanted = reading.send(await connection.fetch(sql, *[wanted.parameters[name] for name in names]))
    except StopIteration as done:
        found: Answer = done.value
        return found
