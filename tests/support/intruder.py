"""A plugin that tries, from inside a served vault, what an intruder would; a member of the report says how far it got.

It runs as a module of its own in that vault: its configuration is in environment variables.
"""

import ctypes
import errno
import os
import resource
import signal
import socket
import subprocess
import threading
from pathlib import Path

from vsqlvault.hookspecs import hookimpl
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.sandbox.system_calls import ARCHITECTURES, REFUSED

LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine
HANGS_UP_THE_TERMINAL = {"vhangup"}


def told(attempt):
    """Return the name of the error that an attempt meets; "done" where it meets none."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def call(number, *arguments):
    if LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")


def namespace():
    """Fork into a new user namespace; the child, if there ever is one, ends at once."""
    flags = 0x10000000 | signal.SIGCHLD
    pid = LIBC.syscall(
        ctypes.c_long(ARCHITECTURES[MACHINE].clone), *(ctypes.c_long(each) for each in (flags, 0, 0, 0, 0))
    )
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), "")


def connect(port):
    with socket.socket() as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", port))


def bind():
    with socket.socket() as server:
        server.bind(("127.0.0.1", int(os.environ["INTRUDER_BINDS"])))


def in_thread(attempt):
    found = []
    thread = threading.Thread(target=lambda: found.append(told(attempt)))
    thread.start()
    thread.join()
    return found[0]


def in_child(attempt):
    """Return what an attempt meets in a forked child."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, told(attempt).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    with os.fdopen(read) as answer:
        os.close(write)
        return answer.read()


class Loot:
    name = "loot"

    async def write(self, context):
        outside = Path(os.environ["INTRUDER_READS"])
        numbers = {name: both[0 if MACHINE == "x86_64" else 1] for name, both in REFUSED.items()}
        return {
            "system_calls": {
                name: told(lambda number=number: call(number, *[-1] * 6))
                for name, number in numbers.items()
                if number is not None and name not in HANGS_UP_THE_TERMINAL
            },
            "program": told(lambda: subprocess.run(["/bin/true"], check=True)),
            "namespace": told(namespace),
            "thread": in_thread(lambda: call(numbers["ptrace"], 3, 0, 0, 0)),
            "child": in_child(lambda: call(numbers["ptrace"], 3, 0, 0, 0)),
            "read": told(outside.read_text),
            "read_in_thread": in_thread(outside.read_text),
            "read_in_child": in_child(outside.read_text),
            "list": told(lambda: any(Path("/").iterdir())),
            "write": told(lambda: outside.with_name("new").write_text("x")),
            "write_to_itself": told(lambda: Path(__file__).write_text("x")),
            "other_process": told(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes()),
            "connect": told(lambda: connect(int(os.environ["INTRUDER_CONNECTS"]))),
            "bind": told(bind),
            "signal": told(lambda: os.kill(os.getppid(), 0)),
            "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
            "umask": os.umask(0o077),
            "dumpable": LIBC.prctl(3, 0, 0, 0, 0),
            "no_new_privileges": LIBC.prctl(39, 0, 0, 0, 0),
            "hardening": {step.name: step.state for step in context.hardening},
        }


@hookimpl
def vault_report_sections():
    return [Loot()]


@hookimpl
def vault_process_needs():
    return [ProcessNeeds()]
