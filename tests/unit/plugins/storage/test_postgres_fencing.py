"""A process never goes back to a primary that a fail-over has left behind."""

from __future__ import annotations

import pytest

from vsqlvault.errors import UnsafeStorage
from vsqlvault_plugins.storage.postgres.fencing import Fence, Incarnation


def server(timeline: int, *, system: str = "s", started: str = "1") -> Incarnation:
    return Incarnation(system, timeline, "5", started)


@pytest.fixture
def fence() -> Fence:
    made = Fence()
    made.admit(server(2), "a")
    return made


def test_an_older_timeline_is_refused_and_named(fence: Fence) -> None:
    with pytest.raises(UnsafeStorage, match=r"b:1 is on timeline 1, but timeline 2 is in use"):
        fence.admit(server(1), "b:1")


def test_another_cluster_is_refused(fence: Fence) -> None:
    with pytest.raises(UnsafeStorage, match="another database cluster"):
        fence.check(server(3, system="t"), "b")


@pytest.mark.parametrize("other", [server(3), server(2, started="2")])
def test_a_newer_timeline_and_a_restart_change_the_incarnation_and_are_reported(
    fence: Fence, other: Incarnation
) -> None:
    told: list[str] = []
    fence.on_change = lambda: told.append(fence.incarnation)
    fence.admit(other, "b")
    assert told == [str(other)]


def test_a_further_connection_to_the_same_server_changes_nothing(fence: Fence) -> None:
    told: list[str] = []
    fence.on_change = lambda: told.append("changed")
    fence.admit(server(2), "a")
    assert told == []
