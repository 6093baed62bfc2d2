"""Hosts are dialed side by side: none waits for another, and the newest primary is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from vsqlvault_plugins.storage.postgres.dialing import Dialer, NoHost


class Line:
    def __init__(self, host: str, rank: int = 1) -> None:
        self.host, self.rank = host, rank
        self.is_open = True

    def terminate(self) -> None:
        self.is_open = False


class Net:
    """Hosts that answer, refuse or hang, and what was made to them."""

    def __init__(self, **hosts: int | str) -> None:
        self.hosts = hosts
        self.dialed: list[str] = []
        self.made: list[Line] = []

    async def dial(self, host: str) -> Line:
        self.dialed.append(host)
        answer = self.hosts[host]
        if answer == "hangs":
            await asyncio.Event().wait()
        if answer == "refuses":
            raise OSError(host)
        self.made.append(Line(host, int(answer)))
        return self.made[-1]

    def dialer(self, *, head_start: float = 0.01, grace: float = 0.05) -> Dialer[str, Line]:
        return Dialer(
            list(self.hosts), self.dial, lambda line: line.rank, head_start_seconds=head_start, grace_seconds=grace
        )


async def within(work: Callable[[], Awaitable[Line]]) -> Line:
    """Fail where one host keeps the others waiting."""
    return await asyncio.wait_for(work(), 5)


async def test_a_host_that_hangs_keeps_nobody_waiting() -> None:
    net = Net(a="hangs", b=1)
    assert (await within(net.dialer().connect)).host == "b"


async def test_of_two_that_answer_at_the_start_the_newer_timeline_is_taken_and_the_other_closed() -> None:
    net = Net(a=1, b=2)
    assert (await within(net.dialer().connect)).host == "b"
    assert [line.is_open for line in net.made if line.host == "a"] == [False]


async def test_the_last_good_host_is_dialed_alone() -> None:
    net = Net(a="refuses", b=1)
    dialer = net.dialer(head_start=5)
    await within(dialer.connect)
    net.dialed.clear()
    await within(dialer.connect)
    assert net.dialed == ["b"]


async def test_the_others_join_when_the_last_good_host_hangs() -> None:
    net = Net(a=1, b="refuses")
    dialer = net.dialer()
    await within(dialer.connect)
    net.hosts.update(a="hangs", b=2)
    assert (await within(dialer.connect)).host == "b"


async def test_a_forgotten_host_competes_with_the_others() -> None:
    net = Net(a=1, b="refuses")
    dialer = net.dialer(head_start=5)
    await within(dialer.connect)
    net.hosts["b"] = 2
    dialer.forget()
    assert (await within(dialer.connect)).host == "b"


async def test_if_no_host_is_usable_each_reason_is_reported() -> None:
    net = Net(a="refuses", b="refuses")
    with pytest.raises(NoHost) as none:
        await net.dialer().connect()
    assert [str(none.value.failures[host]) for host in ("a", "b")] == ["a", "b"]


async def test_a_caller_that_gives_up_leaves_no_attempt_behind() -> None:
    net = Net(a="hangs")
    before = asyncio.all_tasks()
    task = asyncio.create_task(net.dialer().connect())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before
