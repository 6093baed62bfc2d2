"""Prevents the process from gaining privileges."""

from __future__ import annotations

from vsqlvault.sandbox.kernel import PR_GET_NO_NEW_PRIVS, PR_SET_NO_NEW_PRIVS, Kernel, StepUnavailable


def apply(kernel: Kernel) -> str:
    """Disable privileges from setuid programs and file capabilities, permanently. See prctl(2).

    Raises:
        StepUnavailable: the kernel denies it.
    """
    try:
        kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
        is_set = kernel.prctl(PR_GET_NO_NEW_PRIVS)
    except OSError as error:
        raise StepUnavailable(f"denied by the kernel: {error.strerror}") from error
    if not is_set:
        raise StepUnavailable("accepted by the kernel without effect")
    return "no program can give this process more privileges"
