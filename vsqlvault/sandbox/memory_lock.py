"""Prevents memory from being swapped out."""

from __future__ import annotations

import errno
import resource

from vsqlvault.sandbox.kernel import Kernel, StepUnavailable

MCL_CURRENT = 1
MCL_FUTURE = 2
MCL_ONFAULT = 4
_ALL = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT


def apply(kernel: Kernel) -> str:
    """Lock current and future memory without filling it first. A forked child starts unlocked.

    Under a limit, locking all future memory succeeds and a later allocation fails. A limit that applies to this process
    therefore makes the step unavailable.

    Raises:
        StepUnavailable: there is such a limit, or the kernel denies it.
    """
    _, hard = kernel.limit(resource.RLIMIT_MEMLOCK)
    try:
        if hard == resource.RLIM_INFINITY:
            kernel.set_limit(resource.RLIMIT_MEMLOCK, hard, hard)
            kernel.lock_memory(_ALL)
        else:
            _lock_without_limit(kernel, hard)
    except OSError as error:
        if hard != resource.RLIM_INFINITY and error.errno in {errno.ENOMEM, errno.EPERM}:
            raise StepUnavailable(
                f"the limit of locked memory is {hard // 1024} KiB; LimitMEMLOCK=infinity or CAP_IPC_LOCK is required"
            ) from error
        raise StepUnavailable(f"denied by the kernel: {error.strerror}") from error
    return "no memory page is swapped out"


def _lock_without_limit(kernel: Kernel, hard: int) -> None:
    """Lock memory under a limit of zero. This works only for a process to which no limit applies."""
    kernel.set_limit(resource.RLIMIT_MEMLOCK, 0, hard)
    try:
        kernel.lock_memory(_ALL)
    finally:
        kernel.set_limit(resource.RLIMIT_MEMLOCK, hard, hard)
