"""No core dumps, no debugger, no file that others may read."""

from __future__ import annotations

import resource

from vsqlvault.sandbox.kernel import PR_GET_DUMPABLE, PR_SET_DUMPABLE, Kernel, StepUnavailable

_OWNER_ONLY = 0o077


def apply(kernel: Kernel) -> str:
    """Take the step, and return what is in force.

    The limit alone would not keep memory out of a core dump that the system pipes to a program: that takes not being
    dumpable, which closes /proc/<pid>/mem and ptrace to other processes of this user, too. See core(5) and prctl(2).

    Raises:
        StepUnavailable: the kernel refuses.
    """
    try:
        kernel.restrict_files(_OWNER_ONLY)
        kernel.set_limit(resource.RLIMIT_CORE, 0, 0)
        kernel.prctl(PR_SET_DUMPABLE, 0)
        dumpable = kernel.prctl(PR_GET_DUMPABLE)
    except OSError as error:
        raise StepUnavailable(f"the kernel refuses: {error.strerror}") from error
    if dumpable or kernel.limit(resource.RLIMIT_CORE) != (0, 0):
        raise StepUnavailable("the kernel took it without effect")
    return "no core dumps, not dumpable, umask 077"
