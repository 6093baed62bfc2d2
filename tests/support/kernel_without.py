"""Run ``vsql-vault`` on a kernel that lacks things: ``kernel_without.py landlock seccomp -- serve --config FILE``.

The kernel is this machine's, under a filter that answers as one without them would.
"""

from __future__ import annotations

import errno
import sys

from vsqlvault import cli
from vsqlvault.sandbox.kernel import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, Kernel
from vsqlvault.sandbox.landlock import ADD_RULE, CREATE_RULESET, RESTRICT_SELF
from vsqlvault.sandbox.seccomp import (
    ALLOW,
    EQUAL,
    ERRNO,
    FIRST_ARGUMENT,
    LOAD,
    NUMBER,
    RETURN,
    Instruction,
    install,
)
from vsqlvault.sandbox.system_calls import ARCHITECTURES

PRCTL = {"x86_64": 157, "aarch64": 167}
MLOCKALL = {"x86_64": 151, "aarch64": 230}


def without(kernel: Kernel, lacking: list[str]) -> list[Instruction]:
    machine = kernel.machine
    numbers = {
        "landlock": (CREATE_RULESET, ADD_RULE, RESTRICT_SELF),
        "memory_lock": (MLOCKALL[machine],),
        "seccomp": (ARCHITECTURES[machine].seccomp,),
    }
    missing: Instruction = (RETURN, 0, 0, ERRNO | errno.ENOSYS)
    program: list[Instruction] = [(LOAD, 0, 0, NUMBER)]
    for name in lacking:
        for number in numbers.get(name, ()):
            program += [(EQUAL, 0, 1, number), missing]
    if "limits" in lacking:
        program += [(EQUAL, 0, 3, PRCTL[machine]), (LOAD, 0, 0, FIRST_ARGUMENT)]
        program += [(EQUAL, 0, 1, PR_SET_DUMPABLE), (RETURN, 0, 0, ERRNO | errno.EINVAL)]
    return [*program, (RETURN, 0, 0, ALLOW)]


if __name__ == "__main__":
    split = sys.argv.index("--")
    kernel = Kernel()
    kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
    install(kernel, ARCHITECTURES[kernel.machine].seccomp, without(kernel, sys.argv[1:split]))
    sys.exit(cli.main(sys.argv[split + 1 :]))
