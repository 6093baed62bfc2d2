"""Denies system calls in every thread with a classic BPF filter, see seccomp(2).

The filter is a denylist. An allowlist would break with each new version of libc, OpenSSL or Python, at the first use of
a new system call.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Sequence

from vsqlvault.sandbox.kernel import PR_GET_SECCOMP, Kernel, StepUnavailable
from vsqlvault.sandbox.system_calls import ARCHITECTURES, Architecture

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

KILL_PROCESS = 0x80000000
ALLOW = 0x7FFF0000
ERRNO = 0x00050000

NUMBER = 0  # offsets into struct seccomp_data
ARCHITECTURE = 4
FIRST_ARGUMENT = 16  # its lower half, because all architectures here are little-endian

NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. NEWTIME is not a flag of clone."""

_SET_MODE_FILTER = 1
_ALL_THREADS = 1  # SECCOMP_FILTER_FLAG_TSYNC
_FILTERED = 2

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


def instructions(of: Architecture) -> list[Instruction]:
    """Return the filter: a call of another architecture ends the process, and a listed call fails with EPERM.

    ``clone`` fails if it would create a namespace. ``clone3`` has its flags in memory, which a filter cannot read, so
    it fails with ENOSYS, and the C library falls back to ``clone``.
    """
    refusal: Instruction = (RETURN, 0, 0, ERRNO | errno.EPERM)
    program: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, of.audit),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
    ]
    if of.foreign_from is not None:
        program += [(AT_LEAST, 0, 1, of.foreign_from), (RETURN, 0, 0, KILL_PROCESS)]
    for number in sorted(of.refused):
        program += [(EQUAL, 0, 1, number), refusal]
    return [
        *program,
        (EQUAL, 0, 1, of.clone3),
        (RETURN, 0, 0, ERRNO | errno.ENOSYS),
        (EQUAL, 0, 3, of.clone),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (ANY_BIT, 0, 1, NEW_NAMESPACES),
        refusal,
        (RETURN, 0, 0, ALLOW),
    ]


def assembled(program: Sequence[Instruction]) -> bytes:
    """Return the program as an array of ``struct sock_filter``."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def install(kernel: Kernel, number: int, program: Sequence[Instruction]) -> None:
    """Install a filter in all threads of this process. ``number`` is that of seccomp(2). Raises OSError."""
    code = ctypes.create_string_buffer(assembled(program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    thread = kernel.syscall(number, _SET_MODE_FILTER, _ALL_THREADS, ctypes.addressof(header))
    if thread:
        raise OSError(errno.ESRCH, f"thread {thread} has a filter of its own")


def apply(kernel: Kernel) -> str:
    """Install the filter, test it, and return its effect.

    Raises:
        StepUnavailable: the kernel denies it, or there is no list of system calls for this architecture.
    """
    of = ARCHITECTURES.get(kernel.machine)
    if of is None:
        raise StepUnavailable(f"there is no list of system calls for {kernel.machine}")
    try:
        install(kernel, of.seccomp, instructions(of))
        mode = kernel.prctl(PR_GET_SECCOMP)
    except OSError as error:
        hint = " (no_new_privileges is required)" if error.errno == errno.EACCES else ""
        raise StepUnavailable(f"denied by the kernel: {error.strerror}{hint}") from error
    if mode != _FILTERED or not _refuses(kernel, of.execve):
        raise StepUnavailable("accepted by the kernel without effect")
    return f"{len(of.refused)} system calls denied, including execve, ptrace and mount"


def _refuses(kernel: Kernel, execve: int) -> bool:
    """Whether execve is denied before the kernel looks up the program."""
    try:
        kernel.syscall(execve, 0, 0, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return False
