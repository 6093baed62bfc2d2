"""Logs storage errors with sufficient detail, but not once per request."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from vsqlvault.errors import StorageUnavailable, VaultError

log = logging.getLogger(__name__)
INTERVAL_SECONDS = 1.0
_CODE = re.compile(r"[A-Z0-9_]{1,64}", re.ASCII)

Kind = tuple[str, str | None, str | None]


class FailureLog:
    """Logs which kind of error a batch of ``name`` ended with, at most once a second per kind, without the error's
    text.

    A kind is the error, its cause, and the database's error code. ``left_out`` in a line counts the failures of that
    kind since the line before.
    """

    def __init__(self, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._monotonic = monotonic
        self._told: dict[Kind, tuple[float, int]] = {}

    def tell(self, error: Exception) -> None:
        """Log the failure, or count it."""
        kind = _kind(error)
        now = self._monotonic()
        if kind in self._told:
            at, left_out = self._told[kind]
            if now - at < INTERVAL_SECONDS:
                self._told[kind] = (at, left_out + 1)
                return
        else:
            left_out = 0
        self._told[kind] = (now, 0)
        name, cause, code = kind
        log.error(
            "storage failed",
            extra={"batch": self._name, "error": name, "cause": cause, "code": code, "left_out": left_out}
            | ({"detail": error.detail} if isinstance(error, StorageUnavailable) and error.detail else {}),
        )


def _kind(error: Exception) -> Kind:
    cause = error.__cause__
    code = error.driver_code if isinstance(error, VaultError) else None
    sound = isinstance(code, str) and _CODE.fullmatch(code) is not None
    return type(error).__name__, type(cause).__name__ if cause else None, code if sound else None
