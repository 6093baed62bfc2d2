"""Returns freed memory to the system."""

from __future__ import annotations

import ctypes
import os

LARGE_BYTES = 256 * 1024
M_MMAP_THRESHOLD = -3
"""The parameter's number in ``malloc.h`` of the GNU C library."""


def return_large_blocks() -> bool:
    """Have the C library map each block of 256 KiB or more by itself, and unmap it once it is freed.

    By default the GNU C library raises this threshold to the size of the largest block freed so far. Then large values
    are taken from a heap that cannot shrink below its highest block in use, and a burst of them keeps its memory for good.

    Returns whether it was set. An operator's ``MALLOC_MMAP_THRESHOLD_`` has precedence; other C libraries have no such limit.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_parameter is not None and set_parameter(M_MMAP_THRESHOLD, LARGE_BYTES) == 1
