"""PUT, GET and HEAD through a real socket to a real server process."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROUNDS = 5
LONE = 500
CROWD = 64
CROWD_REQUESTS = 3200
BODY = json.dumps({"encrypted_value": "x" * 1024, "key_ref": "key-v1"}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start ``vsql-vault --dev`` on a free port; give its port and key."""
    process = subprocess.Popen(
        [Path(sys.executable).parent / "vsql-vault", "--dev"],
        cwd=tmp_path_factory.mktemp("server"),
        env={**os.environ, "VSQL_VAULT_SERVER__LISTEN_ADDR": "127.0.0.1:0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    port, key = None, None
    for line in process.stdout:
        port = port or _match(r"listen_addr=127\.0\.0\.1:(\d+)", line)
        key = key or _match(r"(vsk_[\w-]+)", line)
        if port and key:
            break
    yield int(port), key
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)


def _match(pattern, line):
    match = re.search(pattern, line)
    return match[1] if match else None


class Caller:
    """One kept-alive connection that asks, and waits for the answer."""

    def __init__(self, reader, writer, key):
        self.reader = reader
        self.writer = writer
        self.key = key

    @classmethod
    async def connect(cls, port, key):
        """Return a connected caller."""
        return cls(*await asyncio.open_connection("127.0.0.1", port), key)

    async def ask(self, method, number):
        """Return the seconds that one request took; it must succeed."""
        body = BODY if method == "PUT" else b""
        head = (
            f"{method} /vault/card/payment-{number} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Key: {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        started = time.perf_counter()
        self.writer.write(head.encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        if length and method != "HEAD":
            await self.reader.readexactly(int(length[1]))
        seconds = time.perf_counter() - started
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), answer
        return seconds


async def crowd(port, key, method, callers, requests, first=0):
    """Return operations per second, and every request's seconds, sorted; ``first`` is the first entry's number."""
    every = await asyncio.gather(*(Caller.connect(port, key) for _ in range(callers)))

    async def turn(place, caller):
        return [await caller.ask(method, first + place * 100_000 + number) for number in range(requests // callers)]

    started = time.perf_counter()
    taken = await asyncio.gather(*(turn(place, caller) for place, caller in enumerate(every)))
    rate = requests / (time.perf_counter() - started)
    for caller in every:
        caller.writer.close()
    return rate, sorted(seconds for each in taken for seconds in each)


def first(method):
    """Return the number of the first entry: what is put is new each time."""
    return random.randrange(1 << 32) * 10_000_000 if method == "PUT" else 0


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD"])
@pytest.mark.parametrize(("callers", "requests"), [(1, LONE), (CROWD, CROWD_REQUESTS)])
def test_over_http(benchmark, server, found, method, callers, requests):
    """Benchmark one method, alone or in a crowd. Each PUT stores a new entry; the others find what was stored before."""
    runs = []
    with asyncio.Runner() as runner:
        if method != "PUT":
            runner.run(crowd(*server, "PUT", callers, requests))
        benchmark.pedantic(
            lambda: runs.append(runner.run(crowd(*server, method, callers, requests, first(method)))),
            rounds=ROUNDS,
            warmup_rounds=1,
        )
    seconds = sorted(each for _, taken in runs[1:] for each in taken)
    if callers == 1:
        found[f"{method} over HTTP, lone caller, median ms"] = seconds[len(seconds) // 2] * 1000
        found[f"{method} over HTTP, lone caller, p99 ms"] = seconds[int(len(seconds) * 0.99)] * 1000
    else:
        found[f"{method} over HTTP, {callers} callers, ops/s"] = sorted(rate for rate, _ in runs[1:])[
            (len(runs) - 1) // 2
        ]
