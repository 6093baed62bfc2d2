"""Bytes and processor time per operation, on PostgreSQL, through HTTP: ``python benchmarks/bench_sizing.py``.

Processor time does not depend on what else the machine does, as elapsed time would.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.fixtures import SIGNING_KEY
from tests.support.postgres import DEFAULT, PostgresServer
from tests.support.server import VaultServer, eventually
from tests.support.together import in_parallel

SIZES = """
SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'vault' AND c.relkind IN ('r', 'p')
"""
THREADS = 32


class Machine:
    """One PostgreSQL and one vault process on it."""

    def __init__(self, directory: Path, postgres: PostgresServer) -> None:
        self.postgres = postgres
        self.database = postgres.create_database()
        (directory / "signing.key").write_text(SIGNING_KEY.reveal(), "utf-8")
        (directory / "signing.key").chmod(0o600)
        settings = "[audit]\nsigning_key_file = 'signing.key'\n"
        self.vault = VaultServer(
            directory, by_exec=True, settings=settings, database_url=postgres.url(self.database)
        ).start()
        self.vault.retention("card")

    def cpu(self) -> tuple[float, float]:
        """Return the processor seconds of the vault and of PostgreSQL."""
        vault = sum(psutil.Process(self.vault.pid).cpu_times()[:2])
        return vault, sum(sum(process.cpu_times()[:4]) for process in self.postgres.processes())

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each table with its indexes."""
        lines = self.postgres.sql(SIZES, self.database).splitlines()
        return {name: int(size) for name, _, size in (line.partition("|") for line in lines)}

    def settle(self) -> None:
        """Wait until every row is a leaf."""
        waiting = (
            "SELECT (SELECT count(*) FROM vault.access_log) > (SELECT count(*) FROM vault.leaves WHERE log = 'access')"
        )
        eventually(lambda: self.postgres.sql(waiting, self.database) == "f", 120)

    def measure(self, name: str, count: int, work: Callable[[int], int]) -> None:
        """Do the work, and print what each operation cost."""
        before, cpu = self.sizes(), self.cpu()
        statuses = set(in_parallel([lambda n=n: work(n) for n in range(count)], THREADS))
        self.settle()
        after, spent = self.sizes(), self.cpu()
        grown = {table: round((after[table] - before.get(table, 0)) / count) for table in after}
        vault, postgres = (1e6 * (now - then) / count for now, then in zip(spent, cpu, strict=True))
        told = ", ".join(
            f"{table} {size}" for table, size in sorted(grown.items(), key=lambda each: -each[1]) if size > 0
        )
        print(
            f"{name:10} {count} {statuses}  CPU/op: vault {vault:.0f} us, PostgreSQL {postgres:.0f} us  bytes/op: {told}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--value-bytes", type=int, default=1024)
    options = parser.parse_args()
    value = "x" * options.value_bytes
    with tempfile.TemporaryDirectory() as directory, PostgresServer(DEFAULT, quick=True) as postgres:
        machine = Machine(Path(directory), postgres)
        vault, count = machine.vault, options.count
        try:
            machine.measure("PUT new", count, lambda n: vault.put("payments", f"card/p{n}", value).status)
            machine.measure("GET", count, lambda n: vault.get("payments", f"card/p{n}").status)
            machine.measure("HEAD", count, lambda n: vault.call("payments", "HEAD", f"/vault/card/p{n}").status)
            machine.measure("DELETE", count, lambda n: vault.delete("payments", f"card/p{n}").status)
        finally:
            vault.kill()


if __name__ == "__main__":
    main()
