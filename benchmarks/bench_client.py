"""The client's overhead: GET and PUT beside bare httpx and beside the shape of hvac's calls; and sealing.

    python -m benchmarks.bench_client [--rounds 1000]

The variants take turns on one server, call by call. Figures are medians of the time and the processor time of one call.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import httpx
import requests

from tests.support.server import VaultServer
from vsqlvault.client import Vault
from vsqlvault.client.sealed import DataKey, StaticKeyRing, seal, unseal

VALUE = bytes(range(256)) * 4
SEALINGS = 2000
WARM_UP = 20
Call = Callable[[int], object]


def variants(server: VaultServer) -> dict[str, Call]:
    """Return the calls to compare, by name."""
    key, url = server.key("payments"), server.url
    vault = Vault(url, key=key)
    bare = httpx.Client(base_url=url, headers={"X-Vault-Key": key}, trust_env=False)
    session = requests.Session()
    session.trust_env = False

    def body(number: int) -> dict[str, object]:
        value = number.to_bytes(4, "big") + VALUE[4:]
        return {"encrypted_value": b64encode(value).decode(), "encoding": "base64", "key_ref": "k1"}

    def hvac_call(method: str, path: str, document: object = None) -> object:
        """As hvac's JSONAdapter: a session, headers made for each call, the status checked, the JSON returned whole."""
        headers = {"X-Vault-Request": "true", "X-Vault-Key": key}
        response = session.request(
            method=method, url=f"{url}{path}", headers=headers, json=document, allow_redirects=False
        )
        if not response.ok:
            raise RuntimeError(response.text)
        return response.json()

    def bare_get(_: int) -> bytes:
        return b64decode(bare.get("/vault/card/read").raise_for_status().json()["encrypted_value"])

    return {
        "PUT client": lambda number: vault.put("card", "written", number.to_bytes(4, "big") + VALUE[4:], key_ref="k1"),
        "PUT bare httpx": lambda number: bare.put("/vault/card/written", json=body(number)).raise_for_status().json(),
        "PUT shape of hvac": lambda number: hvac_call("PUT", "/vault/card/written", body(number)),
        "GET client": lambda _: vault.get("card", "read"),
        "GET bare httpx": bare_get,
        "GET shape of hvac": lambda _: hvac_call("GET", "/vault/card/read"),
    }


def measured(calls: dict[str, Call], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median time and processor time of one call, in microseconds, by name; the variants take turns call by call."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(rounds + WARM_UP):
        for name, call in calls.items():
            begun, used = time.perf_counter(), time.process_time()
            call(turn)
            found = (time.perf_counter() - begun) * 1e6, (time.process_time() - used) * 1e6
            if turn >= WARM_UP:
                times[name].append(found)
    return {
        name: (statistics.median(each[0] for each in found), statistics.median(each[1] for each in found))
        for name, found in times.items()
    }


def sealing() -> dict[str, float]:
    """Return the median time of sealing and opening 1 KiB, in microseconds."""
    key = DataKey("card-key-v7", bytes(range(32)))
    ring = StaticKeyRing({key.key_ref: key.key}, key.key_ref)
    value = seal(key, "card", "payment-12345", VALUE)

    def one(call: Callable[[], object]) -> float:
        times = []
        for _ in range(SEALINGS):
            begun = time.perf_counter()
            call()
            times.append(time.perf_counter() - begun)
        return statistics.median(times) * 1e6

    return {
        "seal 1 KiB": one(lambda: seal(key, "card", "payment-12345", VALUE)),
        "open 1 KiB": one(lambda: unseal(ring, "card", "payment-12345", value, key_ref=key.key_ref)),
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = VaultServer(Path(directory), by_exec=True).start()
        try:
            server.retention("card")
            with Vault(server.url, key=server.key("payments")) as vault:
                vault.put("card", "read", VALUE)
            found = measured(variants(server), options.rounds)
        finally:
            server.kill()
    for name, (wall, cpu) in found.items():
        base_wall, base_cpu = found[f"{name[:3]} bare httpx"]
        print(f"{name:20} {wall:7.0f} us {wall / base_wall:5.2f}   processor {cpu:6.0f} us {cpu / base_cpu:5.2f}")
    for name, microseconds in sealing().items():
        print(f"{name:20} {microseconds:7.1f} us")


if __name__ == "__main__":
    main()
