"""Text that people read: in audit rows, reports and policies."""

from __future__ import annotations

import re

_CONTROLS = "\x00-\x1f\x7f-\x9f"
_SEPARATORS = "\u2028\u2029"
_SURROGATES = "\ud800-\udfff"
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
"""Unicode's default-ignorable characters, which show nothing, and the interlinear annotation controls. Variation selectors
are left out: they change how the character before them looks."""

_NON_CHARACTERS = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(17)
)
_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNSTORABLE = re.compile(f"[{_CONTROLS}{_SURROGATES}{_BIDIRECTIONAL}{_NON_CHARACTERS}]")
_INVISIBLE = re.compile(f"[{_CONTROLS}{_SEPARATORS}{_SURROGATES}{_IGNORABLE}{_NON_CHARACTERS}]")

MAX_SHOWN_NAME = 128


def is_readable(text: str) -> bool:
    """Whether a reader sees every character of the text.

    False for control characters, line and paragraph separators, bidirectional and zero-width characters, lone surrogates and
    non-characters.
    """
    return (text.isascii() and text.isprintable()) or _INVISIBLE.search(text) is None


def is_storable(text: str) -> bool:
    """Whether a value that is sent as text can be stored: it has no controls, bidirectional or lone surrogate characters."""
    return (text.isascii() and text.isprintable()) or _UNSTORABLE.search(text) is None


def shown_name(name: str) -> str:
    """Return a name that a caller chose as an error shows it: its first 128 characters, if they are printable ASCII."""
    return name[:MAX_SHOWN_NAME] if name.isascii() and name.isprintable() else "(unprintable)"
