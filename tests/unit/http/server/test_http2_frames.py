"""Frames are counted, and one that does not end is noticed, however the bytes are cut."""

from __future__ import annotations

import pytest

from tests.support.http2 import frame
from vsqlvault.http.server.http2_frames import FrameMeter

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def metered(*parts: bytes) -> FrameMeter:
    meter = FrameMeter()
    for part in (PREFACE, *parts):
        meter.take(part)
    return meter


def test_nothing_at_all_is_midway() -> None:
    assert FrameMeter().is_midway


def test_after_whole_frames_it_is_not_midway() -> None:
    assert not metered(frame(4, bytes(6)), frame(1, b"\x82", flags=4, stream=1)).is_midway


@pytest.mark.parametrize(
    "part",
    [b"\x00", frame(4, bytes(6))[:12], frame(1, b"\x82", stream=1), frame(1, b"\x82", stream=1) + frame(9, b"a", stream=1)],
    ids=["a frame's header", "a payload", "a header block", "a continued header block"],
)  # fmt: skip
def test_what_has_begun_is_midway(part: bytes) -> None:
    assert metered(part).is_midway


def test_a_body_that_is_sent_slowly_is_not_midway() -> None:
    assert not metered(frame(0, b"abc", stream=1)[:10]).is_midway


def test_control_frames_are_counted_however_they_are_cut() -> None:
    sent = (
        frame(6, bytes(8))
        + frame(0, b"", stream=1)
        + frame(0, b"a", stream=1)
        + frame(8, bytes(4))
        + frame(3, bytes(4))
    )
    meter = metered(*(sent[at : at + 1] for at in range(len(sent))))
    assert meter.control_frames == 3
    assert not meter.is_midway
