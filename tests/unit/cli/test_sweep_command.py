"""How far a sweep has come, as its command shows it."""

from __future__ import annotations

import io

import pytest

from vsqlvault.cli.sweep import SweepProgress
from vsqlvault.service.purge.sweeper import SweepCount
from vsqlvault.testing import T0


class Screen(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(*counts: tuple[float, int], is_terminal: bool) -> str:
    screen, seconds = Screen(is_terminal), Seconds()
    progress = SweepProgress(screen, seconds)
    for seconds.now, purged in counts:
        progress(SweepCount("0" * 32, False, T0, purged=purged, failed=1, held=2, due=10_000))
    progress.end()
    return screen.getvalue()


def test_a_terminal_shows_a_bar_with_rate_and_time_left() -> None:
    text = shown((1, 2_497), (2.5, 4_997), is_terminal=True)
    assert text == (
        "\r[##########..............................] 2,500 of 10,000, 2,500/s, 0:03 left\x1b[K"
        "\r[####################....................] 5,000 of 10,000, 2,000/s, 0:02 left\x1b[K"
        "\r\x1b[K"
    )


def test_it_is_drawn_ten_times_a_second_at_most() -> None:
    assert shown(*((n / 1000, n) for n in range(1000)), is_terminal=True).count("\r[") <= 11


def test_anything_else_gets_a_plain_line_now_and_then() -> None:
    assert shown((1, 97), (5, 997), (6, 1_000), (65, 1_297), is_terminal=False) == (
        "1,000 of 10,000, 200/s, 0:45 left\n1,300 of 10,000, 20/s, 7:15 left\n"
    )


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_sweep_that_is_over_at_once_leaves_nothing_on_the_screen(is_terminal) -> None:
    assert shown(is_terminal=is_terminal) in {"\r\x1b[K", ""}
