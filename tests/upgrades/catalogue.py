"""What a database consists of: tables, columns, constraints, indexes, functions, triggers and views, without their rows."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg

_OF_VAULT = "JOIN pg_namespace AS n ON n.oid = {} AND n.nspname = 'vault'"
_POSTGRES = {
    "columns": f"""
        SELECT c.relname, c.relkind::text, c.reloptions, c.relispartition, pg_get_partkeydef(c.oid),
               row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum) AS place, a.attname,
               format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage::text, a.attidentity::text,
               a.attcollation::regcollation::text, pg_get_expr(d.adbin, d.adrelid) AS usual
        FROM pg_class AS c {_OF_VAULT.format("c.relnamespace")}
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relkind IN ('r', 'p', 'v', 'c') ORDER BY c.relname, place""",
    "constraints": f"""
        SELECT c.conrelid::regclass::text AS on_table, c.conname, pg_get_constraintdef(c.oid)
        FROM pg_constraint AS c {_OF_VAULT.format("c.connamespace")} ORDER BY on_table, c.conname""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'vault' ORDER BY indexname",
    "functions": f"""
        SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid)
        FROM pg_proc AS p {_OF_VAULT.format("p.pronamespace")} ORDER BY name""",
    "triggers": f"""
        SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled::text
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid {_OF_VAULT.format("c.relnamespace")}
        WHERE NOT t.tgisinternal ORDER BY c.relname, t.tgname""",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'vault' ORDER BY viewname",
    "rows that come with the schema": "SELECT up_to::text FROM vault.lag_steps ORDER BY vault.lag_steps.up_to",
}


async def of_postgres(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Return the catalogue of the schema ``vault``."""
    connection = await asyncpg.connect(url)
    try:
        return {name: [tuple(row) for row in await connection.fetch(sql)] for name, sql in _POSTGRES.items()}
    finally:
        await connection.close()


def of_sqlite(file: Path) -> dict[str, object]:
    """Return the catalogue of a file. The text of a table is compared by its parts, because ALTER TABLE adds to its end."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        tables = [name for kind, name, _ in found if kind == "table"]
        return {
            "statements": {
                (kind, name): sorted(_parts(sql)) if kind == "table" else _spaced(sql) for kind, name, sql in found
            },
            "columns": {
                name: [tuple(row[1:]) for row in connection.execute(f"PRAGMA table_xinfo({name})")] for name in tables
            },
            "rows that come with the schema": connection.execute("SELECT up_to FROM lag_steps ORDER BY 1").fetchall(),
        }


def _spaced(sql: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", sql)).strip()


def _parts(sql: str) -> list[str]:
    """Return what stands between the commas of CREATE TABLE, and what stands around its parentheses."""
    text = _spaced(sql)
    first, last = text.index("("), text.rindex(")")
    parts, depth = [""], 0
    for sign in text[first + 1 : last]:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in (*parts, text[:first], text[last + 1 :])]
