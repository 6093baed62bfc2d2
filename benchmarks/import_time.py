"""What a start of the server spends on imports: ``python -m benchmarks.import_time [--runs N] [--top N]``.

Each run starts ``vsql-vault serve`` on a new SQLite file under ``python -X importtime``, waits for the first answer, and
ends it. The least of the runs counts for each module, so that a busy machine disturbs little. Printed are the packages with
the most time of their own, the modules with the most time in all, and the CPU time and memory of starts without
``-X importtime``.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

KEY = "a-key-of-the-benchmark-alone-0123456789"
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)")
_DEPTH_OF_OWN_PACKAGES = 3


class Start(NamedTuple):
    """One start: seconds of CPU and of time until the first answer, memory in MiB then, and what was written to stderr."""

    cpu: float
    wall: float
    memory: float
    errors: str


def start(*options: str) -> Start:
    """Start a server with these options of Python, wait for its first answer, and end it."""
    with tempfile.TemporaryDirectory() as directory, Path(directory, "stderr").open("w+") as errors:
        port = _free_port()
        config = Path(directory, "vault.toml")
        config.write_text(
            f'[server]\nlisten_addr = "127.0.0.1:{port}"\n[storage]\ndatabase_url = "sqlite:///{directory}/vault.db"\n'
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VSQL_VAULT_")}
        environment = {**environment, "VSQL_VAULT_API_KEY": KEY}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *options, "-m", "vsqlvault", "serve", "--config", str(config)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            _await_answer(process, port)
            wall = time.monotonic() - begun
            cpu, memory = _usage(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
        errors.seek(0)
        return Start(cpu, wall, memory, errors.read())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if connection.recv(1):
                    return
        except OSError:
            time.sleep(0.005)
    raise SystemExit("the server ended before it answered")


def _usage(pid: int) -> tuple[float, float]:
    """Return seconds of CPU and MiB of memory of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return seconds, int(match[1]) / 1024 if match else 0.0


def imports(errors: str) -> dict[str, tuple[int, int]]:
    """Return the microseconds of each module, of its own and with what it imported."""
    return {match[4]: (int(match[1]), int(match[2])) for match in _LINE.finditer(errors)}


def _least(runs: int) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for _ in range(runs):
        for name, (own, whole) in imports(start("-X", "importtime").errors).items():
            before = found.get(name, (own, whole))
            found[name] = min(own, before[0]), min(whole, before[1])
    return found


def _package(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:_DEPTH_OF_OWN_PACKAGES]) if parts[0] in {"vsqlvault", "vsqlvault_plugins"} else parts[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="starts of each kind; default: 5")
    parser.add_argument("--top", type=int, default=25, help="lines of each list; default: 25")
    options = parser.parse_args()
    start()  # compiles what is not compiled yet
    starts = [start() for _ in range(options.runs)]
    least = _least(options.runs)
    packages: Counter[str] = Counter()
    for name, (own, _) in least.items():
        packages[_package(name)] += own
    print(
        f"{len(least)} modules, {sum(packages.values()) / 1000:.0f} ms, the dearest packages by time of their own in ms:"
    )
    for name, own in packages.most_common(options.top):
        print(f"  {own / 1000:7.1f}  {name}")
    print("the dearest modules with what they import, in ms:")
    for name, (_, whole) in sorted(least.items(), key=lambda each: -each[1][1])[: options.top]:
        print(f"  {whole / 1000:7.1f}  {name}")
    cpu, wall, memory = (statistics.median(figures) for figures in list(zip(*starts, strict=True))[:3])
    best = min(each.cpu for each in starts)
    print(
        f"to the first answer, without -X importtime: {cpu:.2f} s of CPU (least {best:.2f}), {wall:.2f} s, {memory:.1f} MiB"
    )


if __name__ == "__main__":
    main()
