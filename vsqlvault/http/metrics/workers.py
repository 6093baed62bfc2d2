"""Metrics of several workers, summed. Workers publish their samples in shared memory.

The worker that receives the scrape adds the samples of the others. A worker publishes its samples once a second and on
every scrape, so that no counter decreases.
"""

from __future__ import annotations

import json
import mmap
import struct
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

SLOT_BYTES = 512 * 1024
_HEADER = struct.Struct("<II")  # length and CRC-32 of the payload
_SEQUENCE = struct.Struct("<Q")
_WAIT_SECONDS = 0.0005
_MAX_WAITS = 200
_CREATED = "_created"
_INSTANT = "_timestamp_seconds gauge"
REPLACED = "vsqlvault_workers_replaced"
_TEXTS = {REPLACED: "Workers that ended and were replaced."}

Labels: TypeAlias = tuple[tuple[str, str], ...]
Samples: TypeAlias = dict[tuple[str, str, Labels], float]
"""Samples by family name and type, then by sample name and labels. ``family`` and ``type`` are joined by a space."""


class SharedSamples:
    """Shared memory with one slot per worker, and one for the counters of ended workers.

    Create it before the first worker.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._memory = mmap.mmap(-1, _SEQUENCE.size + (workers + 1) * SLOT_BYTES)
        self._count_replaced(0)

    def write(self, slot: int, samples: Mapping[tuple[str, str, Labels], float]) -> None:
        """Write a worker's samples to its slot. Only that worker may do so, or the supervisor after it has ended."""
        text = json.dumps([[family, name, labels, value] for (family, name, labels), value in samples.items()]).encode()
        if len(text) > SLOT_BYTES - _HEADER.size:
            return
        start = self._start(slot)
        self._memory[start + _HEADER.size : start + _HEADER.size + len(text)] = text
        self._memory[start : start + _HEADER.size] = _HEADER.pack(len(text), zlib.crc32(text))

    def others(self, slot: int) -> Samples:
        """Return the sum of all other slots."""
        for _ in range(_MAX_WAITS):
            before = self._sequence()
            if before % 2 == 0:
                found = [self._read(other) for other in range(self._workers + 1) if other != slot]
                if self._sequence() == before:
                    return added(*found)
            time.sleep(_WAIT_SECONDS)
        return {}

    def retire(self, slot: int) -> None:
        """Keep the counters of a worker that ended, and count it. Only the supervisor may call this."""
        self._memory[: _SEQUENCE.size] = _SEQUENCE.pack(self._sequence() + 1)
        kept = {key: value for key, value in self._read(slot).items() if not key[0].endswith(" gauge")}
        self.write(self._workers, added(self._read(self._workers), kept))
        self.write(slot, {})
        self._count_replaced(1)
        self._memory[: _SEQUENCE.size] = _SEQUENCE.pack(self._sequence() + 1)

    def _count_replaced(self, more: int) -> None:
        key = (f"{REPLACED} counter", f"{REPLACED}_total", ())
        self.write(self._workers, added(self._read(self._workers), {key: float(more)}))

    def _sequence(self) -> int:
        return int(_SEQUENCE.unpack_from(self._memory)[0])

    def _start(self, slot: int) -> int:
        return _SEQUENCE.size + slot * SLOT_BYTES

    def _read(self, slot: int) -> Samples:
        start = self._start(slot)
        for _ in range(_MAX_WAITS):
            length, checksum = _HEADER.unpack_from(self._memory, start)
            text = self._memory[start + _HEADER.size : start + _HEADER.size + length]
            if zlib.crc32(text) == checksum:
                rows = json.loads(text) if text else []
                return {(family, name, _labels(labels)): value for family, name, labels, value in rows}
            time.sleep(_WAIT_SECONDS)  # its worker is writing
        return {}


class Share:
    """One worker's access to the shared samples."""

    def __init__(self, samples: SharedSamples, slot: int) -> None:
        self._samples = samples
        self._slot = slot

    def publish(self, collector: Collector) -> None:
        """Publish this worker's samples."""
        self._samples.write(self._slot, samples_of(collector.collect()))

    def total(self, collector: Collector) -> Collector:
        """Publish this worker's samples, and return a collector of the samples of all workers."""
        self.publish(collector)
        return _Total(collector, self._samples.others(self._slot))


class _Total(Collector):
    def __init__(self, own: Collector, others: Samples) -> None:
        self._own = own
        self._others = others

    def collect(self) -> Iterable[Metric]:
        left = dict(self._others)
        for metric in self._own.collect():
            total = Metric(metric.name, metric.documentation, metric.type)
            family = f"{metric.name} {metric.type}"
            for sample in metric.samples:
                if not sample.name.endswith(_CREATED):
                    key = (family, sample.name, _labels(sample.labels.items()))
                    others = left.pop(key, None)
                    value = sample.value if others is None else _together(family, sample.value, others)
                    total.add_sample(sample.name, sample.labels, value)
            for key in [key for key in left if key[0] == family]:
                total.add_sample(key[1], dict(key[2]), left.pop(key))
            yield total
        for (family, name, labels), value in left.items():
            metric_name, kind = family.split(" ")
            alone = Metric(metric_name, _TEXTS.get(metric_name, "Counted by workers that ended."), kind)
            alone.add_sample(name, dict(labels), value)
            yield alone


def samples_of(metrics: Iterable[Metric]) -> Samples:
    """Return the samples of metrics, except creation times, which cannot be summed."""
    return {
        (f"{metric.name} {metric.type}", sample.name, _labels(sample.labels.items())): sample.value
        for metric in metrics
        for sample in metric.samples
        if not sample.name.endswith(_CREATED)
    }


def added(*all_samples: Mapping[tuple[str, str, Labels], float]) -> Samples:
    """Return the sum of two sets of samples."""
    total: Samples = {}
    for samples in all_samples:
        for key, value in samples.items():
            total[key] = _together(key[0], total[key], value) if key in total else value
    return total


def _together(family: str, one: float, other: float) -> float:
    """Return the sum of two workers' values, or the earlier one for timestamps."""
    return min(one, other) if family.endswith(_INSTANT) else one + other


def _labels(pairs: Iterable[Iterable[str]]) -> Labels:
    return tuple(sorted((name, value) for name, value in pairs))
