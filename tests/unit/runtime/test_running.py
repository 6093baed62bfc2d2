"""A process ends in time, whatever a plugin has left behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

LEFT_BEHIND = {
    "a task that ignores its cancellation": """
        async def stays():
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass

        async def main():
            asyncio.create_task(stays())
            await asyncio.sleep(0)
    """,
    "a thread of the loop that does not return": """
        async def main():
            asyncio.create_task(asyncio.to_thread(time.sleep, 3600))
            await asyncio.sleep(0.05)
    """,
    "a thread of its own": """
        async def main():
            threading.Thread(target=time.sleep, args=(3600,)).start()
    """,
    "nothing": """
        async def main():
            await asyncio.to_thread(time.sleep, 0)
    """,
}


@pytest.mark.parametrize("source", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_the_process_ends_with_its_exit_code(source: str) -> None:
    program = "import asyncio, sys, threading, time\nfrom vsqlvault.runtime.running import leave, run_to_end\n"
    program += textwrap.dedent(source) + "\nrun_to_end(main())\nprint('done')\nsys.exit(leave(3))\n"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (3, "done\n")


def test_an_error_of_the_coroutine_is_raised() -> None:
    from vsqlvault.runtime.running import run_to_end  # noqa: PLC0415

    async def main() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run_to_end(main())
