"""Counts the frames of one HTTP/2 connection before the protocol library reads them.

The library does not report an incomplete frame or header block, and processes every frame at once.
"""

from __future__ import annotations

PREFACE_BYTES = 24
HEADER_BYTES = 9
_DATA, _HEADERS, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 8, 9
_END_STREAM, _END_HEADERS = 0x1, 0x4


class FrameMeter:
    """Follows the frame headers of a client.

    ``control_frames`` counts the frames that carry no part of a request: PING, SETTINGS, PRIORITY, RST_STREAM,
    CONTINUATION, unknown types, and empty DATA. The owner resets it once a second.
    """

    def __init__(self) -> None:
        self._skip = PREFACE_BYTES
        self._header = bytearray()
        self._type = _HEADERS
        self._in_header_block = False
        self.control_frames = 0

    @property
    def is_midway(self) -> bool:
        """Whether the preface, a frame or a header block is incomplete. The payload of DATA does not count."""
        return self._in_header_block or bool(self._header) or (self._skip > 0 and self._type != _DATA)

    def take(self, data: bytes) -> None:
        """Process the next bytes."""
        at, end = 0, len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
                continue
            step = min(HEADER_BYTES - len(self._header), end - at)
            self._header += data[at : at + step]
            at += step
            if len(self._header) == HEADER_BYTES:
                self._begin_frame()

    def _begin_frame(self) -> None:
        header = self._header
        length, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
        self._header = bytearray()
        self._skip, self._type = length, kind
        if kind in {_HEADERS, _CONTINUATION}:
            self._in_header_block = not flags & _END_HEADERS
        is_empty_data = kind == _DATA and not length and not flags & _END_STREAM
        if is_empty_data or kind not in {_DATA, _HEADERS, _WINDOW_UPDATE}:
            self.control_frames += 1
