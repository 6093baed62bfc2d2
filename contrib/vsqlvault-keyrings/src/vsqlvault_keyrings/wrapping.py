"""What the key rings have in common: data keys are made and unwrapped by a service, and kept for a while."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vsqlvault.client.errors import Unusable, VaultError
from vsqlvault.client.sealed import DataKey, UnknownKey

KEY_BYTES = 32


class KeyServiceFailed(VaultError):
    """The key management service refused, or did not answer."""

    slug = "key-service"


@dataclass(frozen=True)
class Reuse:
    """How long a data key is used, in seconds and in values, and how many unwrapped keys are kept in memory."""

    max_seconds: float = 300.0
    max_values: int = 2**20
    max_unwrapped: int = 1000


@dataclass
class _Current:
    key: DataKey
    until: float
    values_left: int


@dataclass(frozen=True)
class _Unwrapped:
    key: bytes = field(repr=False)
    until: float


class WrappingKeyRing:
    """A key ring on a service. ``keys`` has the service's name of each key by its key_ref; ``current`` wraps new data keys.

    Only the keys in ``keys`` are ever used: a key_ref that comes from a vault cannot choose another one.
    """

    blocks = True

    def __init__(
        self,
        keys: Mapping[str, str],
        current: str,
        *,
        reuse: Reuse = Reuse(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises Unusable: ``current`` is not one of the keys."""
        if current not in keys:
            raise Unusable("key ring: expected current to be one of the keys")
        self._keys = dict(keys)
        self._current_ref = current
        self._reuse = reuse
        self._clock = clock
        self._lock = threading.Lock()
        self._current: _Current | None = None
        self._unwrapped: OrderedDict[tuple[str, bytes], _Unwrapped] = OrderedDict()

    def sealing_key(self) -> DataKey:
        """Return the data key to seal with: the last one, while it may be used, else a new one. Raises KeyServiceFailed."""
        with self._lock:
            current = self._current
            if current is None or current.values_left == 0 or self._clock() >= current.until:
                key, wrapped = self._generated(self._keys[self._current_ref], self._current_ref)
                data_key = DataKey(self._current_ref, _checked(key), wrapped)
                until = self._clock() + self._reuse.max_seconds
                current = self._current = _Current(data_key, until, self._reuse.max_values)
            current.values_left -= 1
            return current.key

    def opening_key(self, key_ref: str, wrapped: bytes) -> bytes:
        """Return the data key that was wrapped, from memory or from the service. Raises UnknownKey, KeyServiceFailed."""
        if key_ref not in self._keys:
            raise UnknownKey
        place = (key_ref, wrapped)
        with self._lock:
            found = self._unwrapped.get(place)
            if found is not None and self._clock() < found.until:
                self._unwrapped.move_to_end(place)
                return found.key
        key = _checked(self._opened(self._keys[key_ref], key_ref, wrapped))
        with self._lock:
            self._unwrapped[place] = _Unwrapped(key, self._clock() + self._reuse.max_seconds)
            while len(self._unwrapped) > self._reuse.max_unwrapped:
                self._unwrapped.popitem(last=False)
        return key

    def _generated(self, name: str, key_ref: str) -> tuple[bytes, bytes]:
        """Return a new data key, and what the service wraps it to."""
        raise NotImplementedError

    def _opened(self, name: str, key_ref: str, wrapped: bytes) -> bytes:
        """Return the data key that the service unwraps."""
        raise NotImplementedError


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise KeyServiceFailed(f"expected a data key of {KEY_BYTES} bytes")
    return key
