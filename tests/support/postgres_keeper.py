"""Ends what runs in a directory and removes it once the process that made it is gone: ``python postgres_keeper.py DIR``.

It waits for the end of its standard input, which comes even when the other side is killed.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from pathlib import Path

import psutil


def processes_in(directory: Path) -> list[psutil.Process]:
    """Return the processes whose working directory is this one, as that of all processes of a PostgreSQL server is."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == str(directory):
                found.append(process)
    return found


def processes_below(directory: Path) -> list[psutil.Process]:
    """Return the live processes whose working directory is this one or one below it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def main() -> None:
    sys.stdin.buffer.read()
    directory = Path(sys.argv[1])
    while alive := processes_below(directory):
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.01)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
