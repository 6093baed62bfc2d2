from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import rotate_keys

from vsqlvault.client.sealed import DataKey, StaticKeyRing, seal, unseal

API_KEY = "an-api-key-for-these-tests-and-for-no-other"
OLD, NEW = "akv:kv:card-key-v6", "akv:kv:card-key-v7"
COMMAND = Path(sys.executable).parent / "vsql-vault"
DATABASE_URL = os.environ.get("ROTATE_KEYS_TEST_DATABASE_URL", "sqlite:///vault.db")
ENVIRONMENT = {**os.environ, "VSQL_VAULT_API_KEY": API_KEY, "PYTHONUNBUFFERED": "1"}
SETTINGS = """
[server]
listen_addr = "127.0.0.1:0"
[storage]
database_url = "{database_url}"
[plugins]
allow = ["access-rules", "auth-api-key", "purge-methods", "report-evidence", "storage-postgresql", "storage-sqlite"]
"""


class Server:
    """A vault that is served by the real command."""

    def __init__(self, directory: Path) -> None:
        (directory / "vault.toml").write_text(SETTINGS.format(database_url=DATABASE_URL))
        log = directory / "vault.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [COMMAND, "--config", "vault.toml"], cwd=directory, env=ENVIRONMENT, stdout=out
            )
        while not (found := re.search(r'listen_addr["=: ]+([\d.]+:\d+)', log.read_text())):
            assert self._process.poll() is None, log.read_text()
            time.sleep(0.05)
        self.url = f"http://{found[1]}"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)


class Site:
    """A purpose of a vault, two keys, and the script as a process."""

    def __init__(self, server: Server, directory: Path, purpose: str) -> None:
        self.url = server.url
        self.directory = directory
        self.purpose = purpose
        self.workers: list[subprocess.Popen[str]] = []
        self.old, self.new = os.urandom(32), os.urandom(32)
        self.write_ring()
        self.retain(365)

    def write_ring(self, **keys: bytes) -> None:
        """Write the key ring; ``old`` and ``new`` replace the keys."""
        document = {OLD: keys.get("old", self.old).hex(), NEW: keys.get("new", self.new).hex()}
        path = self.directory / "keys.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"current": OLD, "keys": document}))

    def retain(self, days: int) -> None:
        policy = {"max_retention_days": days, "purge_method": "physical-delete"}
        assert self.call("PUT", f"/admin/retention-policies/{self.purpose}", policy)[0] in {200, 201}

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.communicate()

    def path(self, external_id: str) -> str:
        return f"/vault/{self.purpose}/{external_id}"

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Vault-Key": API_KEY, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.loads(refused.read())

    def fill(self, count: int) -> None:
        """Store ``e0`` and so on, ``plaintext of eN`` encrypted under the old key, with metadata of its own each."""
        with ThreadPoolExecutor(16) as pool:
            statuses = list(
                pool.map(lambda number: self.store(f"e{number}", metadata={"number": number}), range(count))
            )
        assert set(statuses) <= {201}

    def store(self, external_id: str, *, place: str | None = None, key: bytes | None = None, **fields: Any) -> int:
        """Seal and store an entry; ``place`` and ``key`` are those it is sealed for and under."""
        text = f"plaintext of {external_id}".encode()
        value = seal(DataKey(OLD, key or self.old), self.purpose, place or external_id, text)
        body = {
            "encrypted_value": b64encode(value).decode(),
            "encoding": "base64",
            "key_ref": OLD,
            "algorithm_hint": "AES-256-GCM",
        }
        return self.call("PUT", self.path(external_id), {**body, **fields})[0]

    def plaintext(self, entry: dict[str, Any]) -> str:
        ring = StaticKeyRing({OLD: self.old, NEW: self.new}, NEW)
        value = b64decode(entry["encrypted_value"])
        return unseal(ring, self.purpose, entry["external_id"], value, key_ref=entry["key_ref"]).decode()

    def entries(self, count: int) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: self.call("GET", self.path(f"e{number}")), range(count)))
        assert {status for status, _ in answers} <= {200}
        return [entry for _, entry in answers]

    def listed(self, key_ref: str) -> list[dict[str, Any]]:
        """Return what the vault lists under a key."""
        found, more = [], f"key_ref={key_ref}&limit=1000"
        while more:
            page = self.call("GET", f"/vault/{self.purpose}?{more}")[1]
            found += page["entries"]
            more = page["next_cursor"] and f"cursor={page['next_cursor']}"
        return found

    def under(self, key_ref: str) -> int:
        """Return how many entries lie under a key, as the vault counts them."""
        uses = self.call("GET", f"/admin/key-refs?purpose={self.purpose}&key_ref={key_ref}")[1]["key_refs"]
        return sum(use["entries"] for use in uses)

    def command(self, *more: str) -> list[str]:
        return [
            sys.executable, rotate_keys.__file__, "--url", self.url, "--purpose", self.purpose, "--from", OLD, "--to", NEW,
            "--key-ring", str(self.directory / "keys.json"), *more,
        ]  # fmt: skip

    def start(self, *more: str) -> subprocess.Popen[str]:
        self.workers.append(
            subprocess.Popen(
                self.command(*more), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return self.workers[-1]

    def run(self, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*more),
            env={**ENVIRONMENT, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
