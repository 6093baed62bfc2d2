"""No privilege that this process does not have already."""

from __future__ import annotations

from vsqlvault.sandbox.kernel import PR_GET_NO_NEW_PRIVS, PR_SET_NO_NEW_PRIVS, Kernel, StepUnavailable


def apply(kernel: Kernel) -> str:
    """Give up gaining privileges from setuid programs and file capabilities, for good. See prctl(2).

    Raises:
        StepUnavailable: the kernel refuses.
    """
    try:
        kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
        is_set = kernel.prctl(PR_GET_NO_NEW_PRIVS)
    except OSError as error:
        raise StepUnavailable(f"the kernel refuses: {error.strerror}") from error
    if not is_set:
        raise StepUnavailable("the kernel took it without effect")
    return "no program can give this process more privileges"
