"""Entries per second of ``vsql-vault import``, with a kill and a resumption: ``python -m benchmarks.bench_import``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.fixtures import SIGNING_KEY
from tests.support.postgres import DEFAULT, PostgresServer
from vsqlvault.config import load_settings
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.runtime import open_vault
from vsqlvault.testing import a_retention_policy

KEY = "k" * 40


def written(path: Path, count: int, value_bytes: int) -> None:
    """Write a file with ``count`` entries of ten owners."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            entry = {
                "purpose": "card",
                "external_id": f"pay-{number}",
                "encrypted_value": f"{number}:" + "x" * value_bytes,
                "key_ref": "akv:payez-kv:card-key-v7",
                "algorithm_hint": "AES-256-GCM",
                "metadata": {"merchant_id": number % 100},
                "owner_app": f"app-{number % 10}",
                "created_at": "2026-05-01T10:00:00.123456Z",
                "updated_at": "2026-06-01T10:00:00Z",
                "expires_at": "2099-01-01T00:00:00Z",
            }
            file.write(json.dumps(entry) + "\n")


async def prepared(directory: Path) -> None:
    """Create the schema and the retention policy."""
    async with open_vault(load_settings(directory / "vsql-vault.toml", {"VSQL_VAULT_API_KEY": KEY})) as vault:
        policy = a_retention_policy("card", max_retention_days=36_500)
        await vault.rules.policies.save_retention_policy(Call(SYSTEM, "0" * 32), policy)


def imported(directory: Path, kill_after_seconds: float | None = None) -> dict[str, int] | None:
    """Run the command. Return its count, or None if it was killed."""
    command = [sys.executable, "-m", "vsqlvault", "import", "--json", "entries.ndjson"]
    environment = {**os.environ, "VSQL_VAULT_API_KEY": KEY}
    running = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        out, _ = running.communicate(timeout=kill_after_seconds)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGKILL)
        running.communicate()
        return None
    if running.returncode:
        raise SystemExit(f"the import ended with {running.returncode}")
    found: dict[str, int] = json.loads(out)
    return found


def main() -> None:
    """Import once, killed in between if asked for, and print the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--value-bytes", type=int, default=200)
    parser.add_argument("--storage", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--kill-after", type=float, metavar="SECONDS", help="kill the first run, and resume")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-import-") as name:
        directory = Path(name)
        (directory / "signing.key").write_text(SIGNING_KEY.reveal(), "utf-8")
        (directory / "signing.key").chmod(0o600)
        written(directory / "entries.ndjson", options.entries, options.value_bytes)
        if options.storage == "sqlite":
            measure(directory, f"sqlite:///{directory / 'vault.db'}", options)
            return
        server = PostgresServer(DEFAULT).start()
        try:
            measure(directory, server.url(server.create_database()), options)
        finally:
            server.stop()


def measure(directory: Path, url: str, options: argparse.Namespace) -> None:
    """Run the import on one storage."""
    settings = f'[storage]\ndatabase_url = "{url}"\n[audit]\nsigning_key_file = "{directory}/signing.key"\n'
    (directory / "vsql-vault.toml").write_text(settings, "utf-8")
    asyncio.run(prepared(directory))
    began = time.monotonic()
    if options.kill_after and imported(directory, options.kill_after) is None:
        print(f"killed after {options.kill_after:.0f} s")
    count = imported(directory)
    seconds = time.monotonic() - began
    assert count is not None
    assert count["created"] + count["unchanged"] == options.entries
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{options.storage}: {options.entries} entries in {seconds:.1f} s, {options.entries / seconds:,.0f}/s;"
        f" created {count['created']}, unchanged {count['unchanged']}; processor {used.ru_utime + used.ru_stime:.1f} s,"
        f" memory {used.ru_maxrss / 1024:.0f} MiB; 1,000,000 would take {seconds / options.entries * 1e6:.0f} s"
    )


if __name__ == "__main__":
    main()
