"""Freed blocks of large values go back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vsqlvault.runtime.freed_memory import return_large_blocks

PROGRAM = """
import psutil
from vsqlvault.runtime.freed_memory import return_large_blocks
{first}
me = psutil.Process()
del [bytes(30_000_000)][:]  # the library takes the size of a freed block as its new threshold, up to 32 MiB
before = me.memory_info().rss
blocks = [b"x" * 1_000_000 for _ in range(60)]
last = bytearray(100_000)  # stays in use, above all of them if they are on the heap
kept = [bytes(1000) for _ in range(1000)]
del blocks
print((me.memory_info().rss - before) // 1_000_000)
"""


def held_after(first: str) -> int:
    """Return the megabytes that a process still holds after it has freed sixty values of 1 MB."""
    return int(
        subprocess.run([sys.executable, "-c", PROGRAM.format(first=first)], check=True, capture_output=True).stdout
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the parameter is one of the GNU C library")
class TestLargeBlocks:
    def test_they_return_to_the_system(self) -> None:
        assert held_after("assert return_large_blocks()") < 5

    def test_the_default_keeps_them(self) -> None:
        assert held_after("") > 40


class TestTheOperatorsSetting:
    def test_it_has_precedence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
        assert not return_large_blocks()
