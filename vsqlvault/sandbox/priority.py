"""The priority of a thread for the processor."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def yield_processor() -> None:
    """Give this thread the lowest priority of Linux, ``SCHED_IDLE``, and with it each thread that it starts from now on.

    It runs only while no other thread wants the processor. A thread that takes a lock must not have it: others would wait for
    the lock, and the thread for a processor. It cannot be undone without a privilege. On other systems, and where the system
    refuses it, the thread keeps its priority.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
