"""A MariaDB of the tests: started on a socket in a directory of its own, and ended with them."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

START_SECONDS = 60
SHARED = tuple(Path("/usr/share", name, "mysql_system_tables.sql") for name in ("mysql", "mariadb"))
HAS_MARIADB = bool(shutil.which("mariadbd")) and any(share.is_file() for share in SHARED)
WHY_NOT = "this machine has no mariadbd: apt-get install mariadb-server-core"
SOCKET_VARIABLE = "VSQLVAULT_TEST_MARIADB_SOCKET"


@contextmanager
def mariadb() -> Iterator[str]:
    """Run a server for the length of the block, and yield its socket. Another process of the tests finds it by a variable."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="vsqlvault-mariadb-", dir=memory if memory.is_dir() else None))
    address = str(folder / "socket")
    user = [] if os.geteuid() else ["--user=root"]
    (folder / "data").mkdir()
    tables = next(share for share in SHARED if share.is_file()).read_text("utf-8")
    subprocess.run(
        ["mariadbd", "--no-defaults", "--bootstrap", f"--datadir={folder / 'data'}", *user],
        input=f"CREATE DATABASE mysql;\nUSE mysql;\n{tables}", text=True,
        check=True, capture_output=True, timeout=START_SECONDS,
    )  # fmt: skip
    server = subprocess.Popen(
        ["mariadbd", "--no-defaults", f"--datadir={folder / 'data'}", f"--socket={address}", f"--pid-file={folder / 'pid'}",
         "--skip-networking", "--skip-grant-tables", "--innodb-log-file-size=16M", "--innodb-buffer-pool-size=64M",
         "--max-allowed-packet=64M", *user],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(address, server)
        os.environ[SOCKET_VARIABLE] = address
        yield address
    finally:
        os.environ.pop(SOCKET_VARIABLE, None)
        server.terminate()
        server.wait(START_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def url_of(directory: Path) -> str:
    """Return the URL of the database of a directory, which is created if it does not exist."""
    address = os.environ[SOCKET_VARIABLE]
    name = f"vault_{hashlib.sha256(str(directory).encode()).hexdigest()[:16]}"
    run_sql(address, f"CREATE DATABASE IF NOT EXISTS {name}")
    return f"mariadb://root@localhost/{name}?unix_socket={address}"


def run_sql(address: str, sql: str, database: str | None = None) -> list[tuple[object, ...]]:
    """Run one statement as the administrator of the server."""
    connection = pymysql.connect(unix_socket=address, user="root", database=database, autocommit=True)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        connection.close()


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(address) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("mariadbd did not start")
