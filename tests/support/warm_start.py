"""Servers and commands forked from a process that has imported the program: each start costs no second import of it.

A start by ``exec`` takes half a second of processor time, nearly all of it imports, and the suite makes more than a thousand.
What is forked runs the same ``main`` with its own arguments, environment, directory and output. Tests of the sandbox, of
imports, of the process environment and of memory start the program by ``exec``, as do those of the quick start and of wheels.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NoReturn

READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "LC_", "LANG", "OPENSSL_", "SSL_")
"""Variables that an interpreter or its libraries read once: where they differ, the program is started by ``exec``.

Further directories of modules, those of plugins, are no reason for it: what is forked takes them on.
"""

PROGRAMS = ("vsqlvault", "pytest", "tests.faults.workload", "tests.support.log_writer")
"""Modules that are forked where a command is ``python -m MODULE``."""

MESSAGE_BYTES = 256 * 1024


class ForkedProcess:
    """What a test does with a process: the part of ``subprocess.Popen`` that tests of servers use."""

    def __init__(self, parent: WarmParent, pid: int) -> None:
        self._parent = parent
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, the negative signal number, or None while it runs."""
        with self._lock:
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
        self,
        program: Sequence[str],
        directory: Path | str,
        environment: Mapping[str, str],
        output: int,
        errors: int,
        *given: int,
    ) -> ForkedProcess:
        """Start a module with its arguments and these descriptors for output, errors and, if it reads any, input."""
        request = {"program": list(program), "directory": str(directory), "environment": dict(environment)}
        return ForkedProcess(self, int(self.ask(request, output, errors, *given) or 0))

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
    return {
        name: value for name, value in environment.items() if name.startswith(READ_AT_START) and name != "PYTHONPATH"
    }


_parent: WarmParent | None = None


def start_vault(
    command: Sequence[str], output: IO[bytes], directory: Path, environment: Mapping[str, str], *, by_exec: bool = False
) -> ForkedProcess | subprocess.Popen[bytes]:
    """Start the command as a process of its own: forked if it is one of ``PROGRAMS``, else by ``exec``."""
    if not by_exec and list(command[:2]) == [sys.executable, "-m"] and command[2] in PROGRAMS:
        parent = warm_parent()
        if variables_at_start(environment) == parent.variables:
            return parent.start(command[2:], directory, environment, output.fileno(), output.fileno())
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=directory, env=environment
    )


def warm_parent() -> WarmParent:
    """Return the process that forks, which is started on the first call."""
    global _parent  # noqa: PLW0603 - one for each process of tests
    _parent = _parent or WarmParent()
    return _parent


def run_vault(
    arguments: Sequence[str | Path], directory: Path, environment: Mapping[str, str], timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run ``vsql-vault ARGUMENTS`` to its end as a process of its own, and return its exit code and what it printed."""
    return run_program(["vsqlvault", *arguments], directory, environment, timeout)


def run_program(
    program: Sequence[str | Path], directory: Path, environment: Mapping[str, str], timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run one of ``PROGRAMS`` with its arguments.

    The environment is this, and what an interpreter reads of that of the tests.
    """
    parent, words = warm_parent(), [str(word) for word in program]
    variables = {**environment, **parent.variables}
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = parent.start(words, directory, variables, output.fileno(), errors.fileno())
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        printed = []
        for file in (output, errors):
            file.seek(0)
            printed.append(file.read().decode())
    return subprocess.CompletedProcess(words, code, *printed)


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
        message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 3)
        if not message:
            return False
        request = json.loads(message)
        if "poll" in request:
            ended, status = os.waitpid(request["poll"], os.WNOHANG)
            control.send(json.dumps(status if ended else None).encode())
            continue
        pid = os.fork()
        if pid == 0:
            become(request, *descriptors)
            return True
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(json.dumps(pid).encode())


def become(request: Mapping[str, object], output: int, errors: int, *given: int) -> None:
    """Take on what a new program gets from the one that starts it."""
    for descriptor, number in ((output, 1), (errors, 2), *((each, 0) for each in given)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(str(request["directory"]))
    os.environ.clear()
    environment, program = request["environment"], request["program"]
    assert isinstance(environment, dict)
    assert isinstance(program, list)
    os.environ.update(environment)
    time.tzset()
    sys.argv = program
    further = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    if further:
        sys.path[:0] = further
        importlib.import_module("vsqlvault.plugin_loader").entry_points = entry_points


def run_forked() -> int:
    """Run the program of ``sys.argv``, and return its exit code."""
    program, sys.argv[0] = sys.argv[0], "vsql-vault"
    try:
        if program == "vsqlvault":
            raise SystemExit(importlib.import_module("vsqlvault.cli").main())
        runpy.run_module(program, run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
            return 1
        return ended.code or 0
    except Exception:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
        return 1
    return 0


def end_with(code: int) -> NoReturn:
    """End as an interpreter does, but leave its modules as they are: to take them apart is 50 ms of processor time."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def import_programs() -> None:
    """Import what is forked, and fill the caches that each start fills: those of regular expressions."""
    import_everything()
    for name in ("pytest", "vsqlvault.cli.parser", "vsqlvault.http.application"):
        importlib.import_module(name)
    sys.modules["vsqlvault.cli.parser"].command_parser()
    settings = sys.modules["vsqlvault.config"].Settings()
    sys.modules["vsqlvault.http.application"].Application(settings, sys.modules["vsqlvault.http.server.state"].Counts())


def main() -> None:
    """Import the programs, and fork on request. In what is forked, run the command and end with its exit code."""
    import_programs()
    loader = importlib.import_module("vsqlvault.plugin_loader")
    loader.entry_points = importlib.import_module("tests.support.installed_plugins").plugins_read_once()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        is_forked = fork_until_the_end(control)
    if is_forked:
        end_with(run_forked())


if __name__ == "__main__":
    main()
