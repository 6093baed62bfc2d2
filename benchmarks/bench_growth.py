"""What a request costs a vault of 10 thousand entries, and one of a million or more, with as many rows in its log.

    python -m benchmarks.bench_growth [--sizes 10000 1000000] [--storage sqlite postgresql] [--callers 1 64] [--rounds 5]
        [--value-bytes 1024] [--plot growth.svg]

One entry and its row are copied (``entry_generator.py``), and the sequencer adds the rows to the transparency log. Then a
server for each size is measured by turns: processor time a request, of the server and of PostgreSQL, and the median latency.
Ten million entries with ``--value-bytes 128`` take about 15 GB.
Target: GET and PUT cost at most 1.15 times what they cost with the first size.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from benchmarks.entry_generator import copy_entries
from benchmarks.peers.driver import Figures, Peer, processor_seconds
from tests.support.postgres import DEFAULT, PostgresServer
from tests.support.server import VaultServer
from vsqlvault.config import load_settings
from vsqlvault.interfaces.writes import StoreEntry, Write
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.runtime import open_vault
from vsqlvault.service.vault import Vault
from vsqlvault.testing import an_access_record, an_entry

TARGET = 1.15
START_SECONDS = 120.0
LIFE = timedelta(days=80)
OPERATIONS = {"GET": "read", "PUT": "create"}
IDLE_CHECKS = 3
IDLE_SHARE = 0.1
LONE_SHARE = 3
"""A lone caller makes this many times fewer requests."""

Key = tuple[str, str, int]
"""Storage, method, and number of callers."""

Found = dict[Key, dict[int, list[Figures]]]


async def store_first(vault: Vault, value_bytes: int) -> None:
    """Store the entry that is copied, with its row."""
    now = (await vault.queue.read()).now
    value = b"x" * value_bytes
    entry = an_entry("e0", value, created_at=now, updated_at=now, expires_at=now + LIFE, owner_app="payments")
    row = an_access_record(at=now, operation=Operation.STORE, outcome=Outcome.GRANTED, external_id="e0", app="payments")
    await vault.storage.commit([Write((row,), changes=(StoreEntry(entry, value),))])


async def fill_at_rest(server: VaultServer, size: int, value_bytes: int) -> None:
    """Fill the storage of a server that does not run, and add the rows to the transparency log."""
    settings = load_settings(server.directory / "vault.toml", {})
    async with open_vault(settings) as vault:
        await store_first(vault, value_bytes)
    await asyncio.to_thread(copy_entries, server.database_url, size)
    async with open_vault(settings) as vault:
        await vault.log.sequencer.sequence()


def wait_until_idle(pids: list[int]) -> None:
    """Return when the processes take little processor time: a new server counts the rows of the log, for the report."""
    still, before = 0, processor_seconds(pids)
    while still < IDLE_CHECKS:
        time.sleep(1)
        now = processor_seconds(pids)
        still = still + 1 if now - before < IDLE_SHARE else 0
        before = now


@contextmanager
def vault_of(size: int, url: str | None, postgres: PostgresServer | None, value_bytes: int) -> Iterator[Peer]:
    """Start a vault of this size, which stands still."""
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as directory:
        server = VaultServer(Path(directory), database_url=url, by_exec=True, start_seconds=START_SECONDS)
        server.start()
        server.retention("card")
        server.stop()
        began = time.perf_counter()
        asyncio.run(fill_at_rest(server, size, value_bytes))
        server.start()
        try:
            postgresql_pids = [postgres.processes()[0].pid] if postgres else []
            wait_until_idle([server.pid, *postgresql_pids])
            print(
                f"{server.database_url.partition(':')[0]}: {size:,} entries in {time.perf_counter() - began:.0f} s",
                flush=True,
            )
            key = server.key("payments")
            peer = Peer(f"{size:,}", server.url, "vsqlvault", key, [server.pid], postgresql_pids, entries=size)
            peer.stand_still()
            yield peer
            peer.go_on()
            server.stop()
        finally:
            server.kill()


def measure(storage: str, options: argparse.Namespace, found: Found) -> None:
    """Measure all sizes on one storage, by turns."""
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(DEFAULT)) if storage == "postgresql" else None
        peers = {
            size: stack.enter_context(
                vault_of(
                    size, postgres.url(postgres.create_database()) if postgres else None, postgres, options.value_bytes
                )
            )
            for size in options.sizes
        }
        for round_number in range(options.rounds + 1):
            for callers in options.callers:
                requests = max(1, options.requests // LONE_SHARE) if callers == 1 else options.requests
                for method, operation in OPERATIONS.items():
                    for size, peer in peers.items() if round_number % 2 == 0 else reversed(peers.items()):
                        figures = peer.turn(operation, callers, requests)
                        if round_number:  # the first round fills caches
                            found[storage, method, callers][size].append(figures)


def cost(figures: Figures) -> float:
    """Return the processor time a request, of the server and of PostgreSQL."""
    return figures.server_us + figures.postgresql_us


def ratios(first: list[Figures], rounds: list[Figures]) -> list[float]:
    """Return the ratios of each round's cost to that with the first size, in order."""
    return sorted(cost(now) / cost(before) for before, now in zip(first, rounds, strict=True))


def show(found: Found) -> None:
    """Print medians, and the ratios to the first size."""
    for (storage, method, callers), by_size in found.items():
        print(f"{storage}, {method}, {callers} callers")
        for size, rounds in sorted(by_size.items()):
            _, median, _, server, postgresql = (statistics.median(each) for each in zip(*rounds, strict=True))
            found_ratios = ratios(by_size[min(by_size)], rounds)
            line = f"{statistics.median(found_ratios):.2f} times ({found_ratios[0]:.2f} to {found_ratios[-1]:.2f})"
            print(
                f"  {size:>12,}  server {server:5.0f} us  postgresql {postgresql:5.0f} us  p50 {median:6.2f} ms  {line}"
            )


COLOURS = ("#2563eb", "#059669", "#9333ea", "#d97706", "#93c5fd", "#6ee7b7", "#c4b5fd", "#fcd34d")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, LINE = 520, 300, 52, 40, 40, 20


def plot(found: Found) -> str:
    """Return an SVG: cost relative to the first size, over the number of entries."""
    sizes = sorted({size for by_size in found.values() for size in by_size})
    series = {
        f"{storage}, {method}, {callers} callers": {
            size: statistics.median(ratios(by_size[sizes[0]], rounds)) for size, rounds in by_size.items()
        }
        for (storage, method, callers), by_size in found.items()
    }
    top = max(1.5, *(ratio for points in series.values() for ratio in points.values()))

    def across(size: int) -> float:
        span = math.log10(sizes[-1] / sizes[0]) or 1
        return LEFT + (WIDTH - LEFT - 30) * math.log10(size / sizes[0]) / span

    def up(ratio: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ratio / top

    height = HEIGHT + LINE * (len(series) + 1)
    style = (
        "text{fill:#1f2937}.grid{stroke:#e5e7eb}.target{stroke:#9ca3af}"
        "@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.grid{stroke:#374151}}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f"<style>{style}</style>",
        f'<text x="{LEFT}" y="20" font-weight="bold">Processor time per request, relative to {sizes[0]:,} entries</text>',
    ]
    for tenth in range(0, int(top * 10) + 1, 5):
        y = up(tenth / 10)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 30}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
    target = f'y1="{up(TARGET):.1f}" y2="{up(TARGET):.1f}" class="target" stroke-dasharray="4 3"/>'
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 30}" {target}')
    parts += [f'<text x="{across(size):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{size:,}</text>' for size in sizes]
    for place, (name, points) in enumerate(series.items()):
        line = " ".join(f"{across(size):.1f},{up(ratio):.1f}" for size, ratio in sorted(points.items()))
        colour, y = COLOURS[place % len(COLOURS)], HEIGHT + LINE * (place + 1)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<rect x="{LEFT}" y="{y - 9}" width="18" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + 26}" y="{y}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--storage", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--value-bytes", type=int, default=1024, help="of the stored entries; PUT has values of 1 KiB")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write an SVG of the ratios there")
    options = parser.parse_args()
    found: Found = defaultdict(lambda: defaultdict(list))
    for storage in options.storage:
        measure(storage, options, found)
    show(found)
    if options.plot:
        options.plot.write_text(plot(found), encoding="utf-8")


if __name__ == "__main__":
    main()
