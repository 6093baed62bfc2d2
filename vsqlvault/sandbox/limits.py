"""Prevents core dumps, debuggers, and files that other users can read."""

from __future__ import annotations

import resource

from vsqlvault.sandbox.kernel import PR_GET_DUMPABLE, PR_SET_DUMPABLE, Kernel, StepUnavailable

_OWNER_ONLY = 0o077


def apply(kernel: Kernel) -> str:
    """Apply the step, and return what is in force.

    The limit alone does not prevent a core dump that the system pipes to a program. Being non-dumpable does, and also
    denies /proc/<pid>/mem and ptrace to other processes of this user. See core(5) and prctl(2).

    Raises:
        StepUnavailable: the kernel denies it.
    """
    try:
        kernel.restrict_files(_OWNER_ONLY)
        kernel.set_limit(resource.RLIMIT_CORE, 0, 0)
        kernel.prctl(PR_SET_DUMPABLE, 0)
        dumpable = kernel.prctl(PR_GET_DUMPABLE)
    except OSError as error:
        raise StepUnavailable(f"denied by the kernel: {error.strerror}") from error
    if dumpable or kernel.limit(resource.RLIMIT_CORE) != (0, 0):
        raise StepUnavailable("accepted by the kernel without effect")
    return "no core dumps, not dumpable, umask 077"
