"""PgBouncer between a vault and PostgreSQL, from the system (Debian: ``pgbouncer``)."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from tests.support.postgres import account, free_port

PATHS = ("/usr/sbin", "/usr/local/sbin", "/sbin")
START_SECONDS = 20.0


def find_pgbouncer() -> str | None:
    """Return where PgBouncer is; None where it is not installed."""
    return shutil.which("pgbouncer") or next(
        (found for path in PATHS if (found := shutil.which("pgbouncer", path=path))), None
    )


class PgBouncer:
    """A pooler with the settings it comes with, but for its mode, in front of one database."""

    def __init__(self, directory: Path, url: str, mode: Literal["session", "transaction"]) -> None:
        self._parts = urlsplit(url)
        self._port = free_port()
        self._directory = directory
        directory.chmod(0o755)
        user, password = unquote(self._parts.username or ""), unquote(self._parts.password or "")
        (directory / "users.txt").write_text(f'"{user}" "{password}"\n', "utf-8")
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={self._parts.hostname} port={self._parts.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self._port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {directory / 'users.txt'}\npool_mode = {mode}\n",
            "utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The database's URL through the pooler."""
        user, password = quote(unquote(self._parts.username or "")), quote(unquote(self._parts.password or ""))
        return urlunsplit(self._parts._replace(netloc=f"{user}:{password}@127.0.0.1:{self._port}"))

    def __enter__(self) -> PgBouncer:
        program = find_pgbouncer()
        assert program is not None
        self._process = subprocess.Popen(
            [program, "--quiet", str(self._directory / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **account(),
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            assert self._process.poll() is None, "PgBouncer ended"
            assert time.monotonic() < deadline, "PgBouncer does not answer"
            time.sleep(0.02)
        return self

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
