"""The system calls that Python's standard library does not have."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import threading
from pathlib import Path

PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_GET_SECCOMP = 21
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39


class StepUnavailable(Exception):
    """This step cannot be applied here. The text is the reason, and continues a sentence that names the step."""


class Kernel:
    """Linux, through the C library. Every call raises OSError if the kernel denies it."""

    machine = platform.machine()

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.syscall.restype = ctypes.c_long

    def prctl(self, option: int, argument: int = 0) -> int:
        """Get or set an attribute of this process."""
        zero = ctypes.c_ulong(0)
        return self._checked(self._libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero))

    def syscall(self, number: int, *arguments: int) -> int:
        """Make a system call by its number. Pointers are addresses."""
        return self._checked(self._libc.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments)))

    def lock_memory(self, flags: int) -> None:
        """Lock memory with mlockall(2)."""
        self._checked(self._libc.mlockall(ctypes.c_int(flags)))

    def restrict_files(self, mask: int) -> None:
        """Set the permissions that new files never have."""
        os.umask(mask)

    def limit(self, of: int) -> tuple[int, int]:
        """Return a resource's soft and hard limit."""
        return resource.getrlimit(of)

    def set_limit(self, of: int, soft: int, hard: int) -> None:
        """Set a resource's limits."""
        try:
            resource.setrlimit(of, (soft, hard))
        except ValueError as error:  # the exception of Python for EPERM
            raise OSError(errno.EPERM, str(error)) from error

    def threads(self) -> int:
        """Return the number of threads of this process, including those unknown to Python."""
        try:
            return sum(1 for _ in Path("/proc/self/task").iterdir())
        except OSError:
            return threading.active_count()

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
