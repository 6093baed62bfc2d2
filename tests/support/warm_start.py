"""Servers and commands forked from a process that has imported the program: each start costs no second import of it.

A start by ``exec`` takes half a second of processor time, nearly all of it imports, and the suite makes more than a thousand.
What is forked runs the same ``main`` with its own arguments, environment, directory and output. Tests of the start itself,
of the sandbox, of the process environment and of memory start the program by ``exec``.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "LC_", "LANG", "OPENSSL_", "SSL_")
"""Variables that an interpreter or its libraries read once: where they differ, the program is started by ``exec``."""

MESSAGE_BYTES = 256 * 1024


class ForkedProcess:
    """What a test does with a process: the part of ``subprocess.Popen`` that tests of servers use."""

    def __init__(self, parent: WarmParent, pid: int) -> None:
        self._parent = parent
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, the negative signal number, or None while it runs."""
        if self.returncode is None:
            status = self._parent.ask({"poll": self.pid})
            if status is not None:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class WarmParent:
    """The process that forks, asked over a socket. It ends when the process of the tests does."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self.variables = variables_at_start(os.environ)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm_start", str(theirs.fileno())],
                cwd=Path(__file__).parents[2],
                env={name: value for name, value in os.environ.items() if not name.startswith("VSQL_VAULT_")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def start(
        self, arguments: Sequence[str], output: IO[bytes], directory: Path, environment: Mapping[str, str]
    ) -> ForkedProcess:
        """Start ``vsql-vault ARGUMENTS`` with its output and errors in ``output``."""
        request = {"arguments": list(arguments), "directory": str(directory), "environment": dict(environment)}
        return ForkedProcess(self, int(self.ask(request, output.fileno()) or 0))

    def ask(self, request: Mapping[str, object], *descriptors: int) -> int | None:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], list(descriptors))
            answer = self._socket.recv(MESSAGE_BYTES)
        assert answer, "the process that forks has ended"
        found = json.loads(answer)
        assert found is None or isinstance(found, int)
        return found

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


def variables_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


_parent: WarmParent | None = None


def start_vault(
    command: Sequence[str], output: IO[bytes], directory: Path, environment: Mapping[str, str], *, by_exec: bool = False
) -> ForkedProcess | subprocess.Popen[bytes]:
    """Start the command as a process of its own: forked if it is ``vsql-vault`` as installed here, else by ``exec``."""
    global _parent  # noqa: PLW0603 - one for each process of tests
    if not by_exec and list(command[:3]) == [sys.executable, "-m", "vsqlvault"]:
        _parent = _parent or WarmParent()
        if variables_at_start(environment) == _parent.variables:
            return _parent.start(command[3:], output, directory, environment)
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=directory, env=environment
    )


def import_everything() -> None:
    """Import each module of the program and of its plugins that can be imported here."""
    for name in ("vsqlvault", "vsqlvault_plugins"):
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if not module.name.startswith(("vsqlvault.testing", "vsqlvault.__main__")):
                with suppress(ImportError):  # that of an extra which is not installed
                    importlib.import_module(module.name)


def fork_until_the_end(control: socket.socket) -> bool:
    """Answer requests. Return True in each process that is forked, and False once the tests have ended."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not message:
            return False
        request = json.loads(message)
        if "poll" in request:
            ended, status = os.waitpid(request["poll"], os.WNOHANG)
            control.send(json.dumps(status if ended else None).encode())
            continue
        pid = os.fork()
        if pid == 0:
            become(request, descriptors[0])
            return True
        os.close(descriptors[0])
        control.send(json.dumps(pid).encode())


def become(request: Mapping[str, object], output: int) -> None:
    """Take on what a new program gets from the one that starts it."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(str(request["directory"]))
    os.environ.clear()
    environment, arguments = request["environment"], request["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["vsql-vault", *arguments]


def main() -> None:
    """Import the program, and fork on request. In what is forked, run the command and end with its exit code."""
    import_everything()
    loader = importlib.import_module("vsqlvault.plugin_loader")
    loader.entry_points = importlib.import_module("tests.support.installed_plugins").plugins_read_once()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        is_forked = fork_until_the_end(control)
    if is_forked:
        raise SystemExit(importlib.import_module("vsqlvault.cli").main())


if __name__ == "__main__":
    main()
