"""``traceparent`` is kept only if it is valid (W3C Trace Context)."""

from __future__ import annotations

import pytest

from vsqlvault.http.tracing import trace_parent

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FITTING = {
    "version 00": (VALID, VALID),
    "a later version": ("01" + VALID[2:], "01" + VALID[2:]),
    "a later version with more": ("cc" + VALID[2:] + "-what-the-future-brings", "cc" + VALID[2:]),
}
UNFIT = {
    "empty": "",
    "version ff": "ff" + VALID[2:],
    "no trace": VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
    "no parent": VALID.replace("00f067aa0ba902b7", "0" * 16),
    "capitals": VALID.upper(),
    "version 00 with more": VALID + "-01",
    "a later version with more, without a hyphen": "01" + VALID[2:] + "1",
    "a line feed": VALID + "\n",
    "short": VALID[:-1],
}


@pytest.mark.parametrize(("value", "found"), FITTING.values(), ids=FITTING)
def test_a_valid_one_is_kept(value: str, found: str) -> None:
    assert trace_parent([("host", "a"), ("traceparent", value)]) == found


@pytest.mark.parametrize("value", UNFIT.values(), ids=UNFIT)
def test_another_one_is_left_out(value: str) -> None:
    assert trace_parent([("traceparent", value)]) is None


def test_two_are_left_out() -> None:
    assert trace_parent([("traceparent", VALID)] * 2) is None
