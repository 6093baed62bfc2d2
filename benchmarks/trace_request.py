"""Counts the calls of one request on a kept connection: calls, distinct functions, files, and changes of file.

    python -m benchmarks.trace_request [--storage postgresql] [--python /other/.venv/bin/python] [--list GET]

The real server runs with a profile function on every thread, and each method is asked for several times on one connection.
Only functions defined in the project's files count; a coroutine that is resumed is not called again. The figures are those
of the repetition with the fewest calls, so that no background task is counted with the request.

``--python`` runs the server of another checkout by its interpreter. ``--list`` prints the calls of one method in order.
"""

from __future__ import annotations

import argparse
import dis
import inspect
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
from contextlib import closing
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

METHODS = ("GET", "PUT", "REPLACE", "HEAD", "DELETE")
WARM_UP = 3
REPETITIONS = 7
_GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
OUTSIDE = ("benchmarks", "site-packages", "tests")
"""Directories of a checkout whose functions are not the project's own."""


class Recorder:
    """Records the code objects that are called in the project's files while it is on."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root}/"
        self._files: dict[str, bool] = {}
        self._calls: list[CodeType] = []
        self._is_on = False

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Record a call; a function for ``sys.setprofile``."""
        code = frame.f_code
        if self._is_on and event == "call" and not _is_resumed(frame):
            path = code.co_filename
            if path not in self._files:
                self._files[path] = self._is_ours(path)
            if self._files[path]:
                self._calls.append(code)

    def begin(self, *_: Any) -> None:
        """Start to record; a signal handler."""
        self._calls.clear()
        self._is_on = True
        _say({"tracing": True})

    def end(self, *_: Any) -> None:
        """Stop, and print what was called; a signal handler."""
        self._is_on = False
        calls = [(code.co_filename.removeprefix(self._root), code.co_qualname) for code in self._calls]
        _say({"tracing": False, "calls": calls})

    def _is_ours(self, path: str) -> bool:
        return path.startswith(self._root) and not any(f"/{name}/" in path for name in OUTSIDE)


def _is_resumed(frame: FrameType) -> bool:
    """Whether a generator or coroutine goes on where it waited, which is no call: its first instructions are behind it."""
    return bool(frame.f_code.co_flags & _GENERATORS) and frame.f_lasti > _start_of(frame.f_code)


@cache
def _start_of(code: CodeType) -> int:
    return next(each.offset for each in dis.get_instructions(code) if each.opname == "RESUME")


def _say(line: dict[str, Any]) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


def serve(config: str) -> None:
    """Serve a vault of the checkout whose interpreter this is: SIGUSR1 starts the record, SIGUSR2 prints it."""
    import vsqlvault  # noqa: PLC0415 - the client's side needs none of it

    recorder = Recorder(Path(str(vsqlvault.__file__)).parents[1])
    signal.signal(signal.SIGUSR1, recorder.begin)
    signal.signal(signal.SIGUSR2, recorder.end)
    threading.setprofile(recorder.profile)
    sys.setprofile(recorder.profile)
    sys.argv = ["vsqlvault", "serve", "--config", config]
    runpy.run_module("vsqlvault", run_name="__main__")


class Figures:
    """What the calls of one request come to."""

    def __init__(self, calls: list[tuple[str, str]]) -> None:
        self.calls = calls
        self.functions = len(set(calls))
        files = [path for path, _ in calls]
        self.files = len(set(files))
        self.changes = sum(one != other for one, other in pairwise(files))


def request_of(method: str, number: int, key: str) -> bytes:
    """Return the request of one repetition."""
    name = "replaced" if method == "REPLACE" else f"e{number}"
    body = b""
    if method in {"PUT", "REPLACE"}:
        body = json.dumps({"encrypted_value": f"{number}".ljust(1024, "x"), "key_ref": "key-v1"}).encode()
    verb = "PUT" if method == "REPLACE" else method
    head = (
        f"{verb} /vault/card/{name} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def receive(connection: socket.socket, *, is_head: bool) -> bytes:
    """Return the status line of an answer, all of it read."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length and not is_head:
        body += connection.recv(65536)
    return head.partition(b"\r\n")[0]


def measure(python: str, url: str | None) -> dict[str, Figures]:
    """Trace every method on a server that ``python`` runs."""
    from tests.support.server import VaultServer  # noqa: PLC0415 - the server's side has none of it

    class Traced(VaultServer):
        """A server that runs under the recorder."""

        def command(self) -> list[str]:
            return [python, str(Path(__file__).resolve()), "--serve", str(self.directory / "vault.toml")]

    with tempfile.TemporaryDirectory() as directory:
        server = Traced(Path(directory), database_url=url)
        server.start()
        try:
            server.retention("card")
            server.stored("payments", "card/replaced")
            found: dict[str, Figures] = {}
            with closing(socket.create_connection(server.address)) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for method in ("PUT", "GET", "HEAD", "REPLACE", "DELETE"):
                    found[method] = min(
                        (_trace(server, connection, method, number) for number in range(WARM_UP + REPETITIONS)),
                        key=lambda figures: len(figures.calls),
                    )
            server.stop()
            return found
        finally:
            server.kill()


def _trace(server: Any, connection: socket.socket, method: str, number: int) -> Figures:
    server._lines_seen = len(server.log_lines())
    server.signal(signal.SIGUSR1)
    server.wait_for_line(lambda line: line.get("tracing") is True)
    connection.sendall(request_of(method, number, server.key("payments")))
    status = receive(connection, is_head=method == "HEAD")
    if not status.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
        raise RuntimeError(f"{method}: {status.decode()}")
    server.signal(signal.SIGUSR2)
    line = server.wait_for_line(lambda line: line.get("tracing") is False)
    return Figures([(path, name) for path, name in line["calls"]])


def main() -> None:
    """Read the options, trace, and print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--storage", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the checkout that is traced")
    parser.add_argument("--list", choices=METHODS, help="print the calls of this method in order")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if options.storage == "postgresql":
        from tests.support.postgres import DEFAULT, PostgresServer  # noqa: PLC0415

        with PostgresServer(DEFAULT) as postgres:
            found = measure(options.python, postgres.url(postgres.create_database()))
    else:
        found = measure(options.python, None)
    if options.list:
        print("\n".join(f"{path}  {name}" for path, name in found[options.list].calls))
    print(f"{'':<8} {'calls':>6} {'functions':>10} {'files':>6} {'changes of file':>16}")
    for method in METHODS:
        figures = found[method]
        print(f"{method:<8} {len(figures.calls):>6} {figures.functions:>10} {figures.files:>6} {figures.changes:>16}")


if __name__ == "__main__":
    main()
