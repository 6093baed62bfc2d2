"""Gathers what the benchmarks found, and prints the ratios of this run at its end."""

import pytest

FOUND: dict[str, float] = {}


@pytest.fixture
def found():
    """Operations per second, or milliseconds, by name; ``pytest_terminal_summary`` prints them."""
    return FOUND


def pytest_terminal_summary(terminalreporter):
    """Print what was found, and the ratios."""
    if not FOUND:
        return
    terminalreporter.section("this run")
    for name, value in FOUND.items():
        terminalreporter.line(f"{name:<58} {value:>10,.2f}")
    for kind in ("PUT", "GET"):
        grouped = FOUND.get(f"{kind} commit path, 64 callers, ops/s")
        for other in ("a transaction per request, one hop", "a transaction per request, statement by statement"):
            alone = FOUND.get(f"{kind} {other}, 64 callers, ops/s")
            if grouped and alone:
                terminalreporter.line(f"{kind}: group commit is {grouped / alone:.1f} times {other}")
        over_http = FOUND.get(f"{kind} over HTTP, 64 callers, ops/s")
        if grouped and over_http:
            terminalreporter.line(f"{kind}: the commit path alone is {grouped / over_http:.1f} times HTTP")
