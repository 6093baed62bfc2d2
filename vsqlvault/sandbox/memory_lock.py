"""Memory that never goes to swap."""

from __future__ import annotations

import errno
import resource

from vsqlvault.sandbox.kernel import Kernel, StepUnavailable

MCL_CURRENT = 1
MCL_FUTURE = 2
MCL_ONFAULT = 4
_ALL = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT


def apply(kernel: Kernel) -> str:
    """Lock what is in memory now and what will come into it, without filling it first. A forked child starts unlocked.

    Under a limit, locking all future memory would succeed now and fail some allocation later. So a limit that binds this
    process makes the step unavailable.

    Raises:
        StepUnavailable: there is such a limit, or the kernel refuses.
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
                f"the limit of locked memory is {hard // 1024} KiB: it takes LimitMEMLOCK=infinity or CAP_IPC_LOCK"
            ) from error
        raise StepUnavailable(f"the kernel refuses: {error.strerror}") from error
    return "no page of this process goes to swap"


def _lock_without_limit(kernel: Kernel, hard: int) -> None:
    """Lock with a limit of nothing: that works for those alone whom no limit binds, whatever else they seem to be."""
    kernel.set_limit(resource.RLIMIT_MEMLOCK, 0, hard)
    try:
        kernel.lock_memory(_ALL)
    finally:
        kernel.set_limit(resource.RLIMIT_MEMLOCK, hard, hard)
