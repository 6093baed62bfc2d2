"""Denies files and ports with Landlock, see landlock(7).

Rules apply to directories and files, not to names. A renamed file keeps its rule, and its replacement has none. A file
that may be replaced is therefore allowed through its directory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vsqlvault.quick_dataclass import dataclass
from vsqlvault.sandbox.kernel import Kernel, StepUnavailable

CREATE_RULESET = 444  # the same three numbers on every architecture
ADD_RULE = 445
RESTRICT_SELF = 446
_VERSION = 1
_PATH_BENEATH = 1
_NET_PORT = 2
_ALL_THREADS = 8  # LANDLOCK_RESTRICT_SELF_TSYNC, ABI 8

WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_DIR, MAKE_REG = 1 << 7, 1 << 8
REFER, TRUNCATE = 1 << 13, 1 << 14

BIND_TCP, CONNECT_TCP = 1, 2
SCOPES = 3  # abstract Unix sockets and signals of other processes

NET_ABI = 4
SCOPE_ABI = 6
THREADS_ABI = 8
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights of each ABI. Everything without a rule is denied, including execution."""

_TO_READ = READ_FILE | READ_DIR
_TO_WRITE = _TO_READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
_OF_A_FILE = WRITE_FILE | READ_FILE | TRUNCATE


@dataclass(frozen=True, slots=True)
class Reach:
    """What stays accessible: existing paths and TCP ports. ``connect_ports`` is None if all ports stay accessible."""

    readable: frozenset[Path]
    writable: frozenset[Path]
    connect_ports: frozenset[int] | None
    bind_ports: frozenset[int]


def abi(kernel: Kernel) -> int:
    """Return the Landlock version of the kernel.

    Raises:
        StepUnavailable: the kernel has none, or it is disabled.
    """
    try:
        return kernel.syscall(CREATE_RULESET, 0, 0, _VERSION)
    except OSError as error:
        why = {errno.ENOSYS: "the kernel has no Landlock", errno.EOPNOTSUPP: "Landlock is disabled in the kernel"}
        raise StepUnavailable(why.get(error.errno or 0, f"denied by the kernel: {error.strerror}")) from error


def apply(kernel: Kernel, reach: Reach) -> str:
    """Deny everything but ``reach``, and return what stays accessible.

    Raises:
        StepUnavailable: the kernel does not support Landlock or denies it, or other threads are running that it would
        not restrict.
    """
    version = abi(kernel)
    threads = kernel.threads()
    if threads > 1 and version < THREADS_ABI:
        raise StepUnavailable(f"{threads} threads are running, and this kernel restricts only one of them")
    try:
        with _ruleset(kernel, reach, version) as ruleset:
            kernel.syscall(RESTRICT_SELF, ruleset, _ALL_THREADS if version >= THREADS_ABI else 0)
    except OSError as error:
        hint = " (no_new_privileges is required)" if error.errno == errno.EPERM else ""
        raise StepUnavailable(f"denied by the kernel: {error.strerror}{hint}") from error
    if Path("/") not in reach.readable | reach.writable and _can_list_root():
        raise StepUnavailable("accepted by the kernel without effect")
    return _told(reach, version)


@contextmanager
def _ruleset(kernel: Kernel, reach: Reach, version: int) -> Iterator[int]:
    rights = _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]
    closes_ports = version >= NET_ABI
    net = BIND_TCP | (CONNECT_TCP if reach.connect_ports is not None else 0) if closes_ports else 0
    members = [rights, net, SCOPES][: 3 if version >= SCOPE_ABI else 2 if closes_ports else 1]
    attributes = ctypes.create_string_buffer(struct.pack(f"={len(members)}Q", *members), 8 * len(members))
    ruleset = kernel.syscall(CREATE_RULESET, ctypes.addressof(attributes), len(attributes), 0)
    try:
        for path in sorted(reach.readable):
            _open_path(kernel, ruleset, path, _TO_READ & rights)
        for path in sorted(reach.writable):
            _open_path(kernel, ruleset, path, _TO_WRITE & rights)
        for port in sorted(reach.bind_ports) if closes_ports else ():
            _open_port(kernel, ruleset, port, BIND_TCP)
        for port in sorted(reach.connect_ports or ()) if closes_ports else ():
            _open_port(kernel, ruleset, port, CONNECT_TCP)
        yield ruleset
    finally:
        os.close(ruleset)


def _open_path(kernel: Kernel, ruleset: int, path: Path, rights: int) -> None:
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(found).st_mode):
            rights &= _OF_A_FILE
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, found), 12)
        kernel.syscall(ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(rule), 0)
    finally:
        os.close(found)


def _open_port(kernel: Kernel, ruleset: int, port: int, right: int) -> None:
    rule = ctypes.create_string_buffer(struct.pack("=QQ", right, port), 16)
    kernel.syscall(ADD_RULE, ruleset, _NET_PORT, ctypes.addressof(rule), 0)


def _can_list_root() -> bool:
    try:
        return any(Path("/").iterdir())
    except OSError:
        return False


def _told(reach: Reach, version: int) -> str:
    writes = ", ".join(str(path) for path in sorted(reach.writable) if not path.is_relative_to("/dev")) or "nowhere"
    if version < NET_ABI:
        ports = "to any port, restricted from Linux 6.7 on"
    elif reach.connect_ports is None:
        ports = "to any port, as required by a plugin"
    else:
        ports = "to " + ", ".join(str(port) for port in sorted(reach.connect_ports))
    return f"ABI {version}; writes in {writes}; connects {ports}"
