"""SystemExit and KeyboardInterrupt of a task that the loop does not wait for end nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from vsqlvault.runtime.contained_loop import ContainedLoop, loop_name, server_loop
from vsqlvault.runtime.running import run_to_end

ENDING = (SystemExit, KeyboardInterrupt)
LOOPS = sorted({ContainedLoop, server_loop(has_tls=False)}, key=lambda loop: loop.__name__)
"""The second one is that of uvloop, where it is installed."""


@pytest.fixture(params=LOOPS, ids=lambda loop: loop.__name__)
def loop_class(request: pytest.FixtureRequest) -> Any:
    return request.param


async def fail(error: type[BaseException]) -> None:
    raise error


@pytest.mark.parametrize("error", ENDING)
def test_a_task_that_raises_it_ends_alone(loop_class: Any, error: type[BaseException]) -> None:
    async def main() -> Any:
        task = asyncio.ensure_future(fail(error))
        beside = asyncio.ensure_future(asyncio.sleep(0, "beside"))
        with pytest.raises(error):
            await task
        return await beside

    assert run_to_end(main(), loop_class) == "beside"


@pytest.mark.parametrize("error", ENDING)
def test_a_callback_that_raises_it_ends_nothing(loop_class: Any, error: type[BaseException]) -> None:
    def fail_at_once() -> None:
        raise error

    async def main() -> int:
        asyncio.get_running_loop().call_soon(fail_at_once)
        asyncio.get_running_loop().call_later(0, fail_at_once)
        await asyncio.sleep(0.01)
        return 7

    assert run_to_end(main(), loop_class) == 7


@pytest.mark.parametrize("error", ENDING)
def test_a_task_that_raises_it_when_it_is_cancelled_ends_nothing(loop_class: Any, error: type[BaseException]) -> None:
    async def waits() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise error

    async def main() -> int:
        task = asyncio.ensure_future(waits())
        task.add_done_callback(lambda ended: ended.exception())
        await asyncio.sleep(0)
        return 7

    assert run_to_end(main(), loop_class) == 7


@pytest.mark.parametrize("error", ENDING)
def test_one_in_the_iteration_in_which_the_loop_ends_hides_no_result(
    loop_class: Any, error: type[BaseException]
) -> None:
    async def main() -> int:
        asyncio.current_task().add_done_callback(lambda _: _raise(error))  # type: ignore[union-attr]
        return 7

    with closing(loop_class()) as loop:
        assert loop.run_until_complete(main()) == 7
        assert loop.run_until_complete(asyncio.sleep(0, 8)) == 8


def _raise(error: type[BaseException]) -> None:
    raise error


@pytest.mark.parametrize("error", ENDING)
def test_that_of_the_coroutine_itself_is_raised(loop_class: Any, error: type[BaseException]) -> None:
    with pytest.raises(error):
        run_to_end(fail(error), loop_class)


@pytest.mark.parametrize("count", [1, 2])
def test_interrupts_by_a_signal_still_end_the_process(loop_class: Any, count: int) -> None:
    program = textwrap.dedent(f"""\
        import asyncio, os, signal
        from vsqlvault.runtime.contained_loop import ContainedLoop, server_loop
        from vsqlvault.runtime.running import run_to_end

        async def main():
            for number in range({count}):
                os.kill(os.getpid(), signal.SIGINT)
                try:
                    await asyncio.sleep(5)
                except asyncio.CancelledError:
                    if {count} == 1:
                        raise
            print("not interrupted")

        try:
            run_to_end(main(), {"ContainedLoop" if loop_class is ContainedLoop else "server_loop(has_tls=False)"})
        except KeyboardInterrupt:
            print("interrupted")
    """)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "interrupted\n", ended.stderr


@pytest.fixture
def forgotten() -> Iterator[None]:
    server_loop.cache_clear()
    yield
    server_loop.cache_clear()


def name_on(loop_class: Any) -> str:
    async def main() -> str:
        return loop_name()

    return run_to_end(main(), loop_class)


def test_a_server_without_tls_uses_uvloop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    assert name_on(server_loop(has_tls=False)).startswith("uvloop ")


@pytest.mark.usefixtures("forgotten")
def test_a_server_with_tls_or_without_uvloop_uses_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_on(server_loop(has_tls=True)) == "asyncio"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert name_on(server_loop(has_tls=False)) == "asyncio"
