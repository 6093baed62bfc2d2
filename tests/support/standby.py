"""A standby of a PostgreSQL server, which can be cut off and promoted; nobody fences the old primary."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from tests.support.postgres import START_SECONDS, PostgresServer
from tests.support.tcp_proxy import TcpProxy

NAME = "standby"


class StandbyServer(PostgresServer):
    """A server that streams from ``primary``, through ``replication``: cut that, and it lacks what is written from then on."""

    def __init__(self, primary: PostgresServer, settings: Mapping[str, str]) -> None:
        self._primary = primary
        self.replication = TcpProxy(primary.port)
        super().__init__(settings, quick=True)
        self.password = primary.password

    def promote(self) -> None:
        """Make it a primary, and return once it takes writes."""
        assert self.sql("SELECT pg_promote()") == "t"

    def close(self) -> None:
        super().close()
        self.replication.close()

    def _initialize(self) -> None:
        source = f"host=127.0.0.1 port={self.replication.port} user=postgres password={self._primary.password}"
        self._url = f"postgresql://postgres:{self._primary.password}@127.0.0.1:{self.port}/postgres"
        subprocess.run(
            [
                self._program_directory / "pg_basebackup",
                "--pgdata", self.data_directory, "--dbname", f"{source} application_name={NAME}",
                "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
            ],
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
            **self._account,
        )  # fmt: skip
