"""The frozen dumps, and how to load them."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import asyncpg

DUMPS = Path(__file__).with_name("dumps")


@dataclass(frozen=True)
class Frozen:
    """A database that an earlier version made."""

    kind: str
    version: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.version}"

    def path(self, suffix: str) -> Path:
        return DUMPS / f"{self}.{suffix}"

    @property
    def text(self) -> str:
        """The statements that make it again."""
        return gzip.decompress(self.path("sql.gz").read_bytes()).decode()

    def load_sqlite(self, file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(self.text)

    async def load_postgres(self, url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(self.text)
        finally:
            await connection.close()


FROZEN = tuple(
    Frozen(kind, int(version))
    for kind, version in sorted(path.name.removesuffix(".sql.gz").split("-") for path in DUMPS.glob("*.sql.gz"))
)
OLDEST_SQLITE = min((frozen for frozen in FROZEN if frozen.kind == "sqlite"), key=lambda frozen: frozen.version)
