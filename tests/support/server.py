"""A vault that is served by the real command, as its own process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from tests.support.warm_start import ForkedProcess, start_vault
from tests.support.wire import SECONDS, Answer, Headers, exchange, request_bytes

START_SECONDS = 20.0
STOP_SECONDS = 20.0
ADMIN = "vault-admin"
HARDENING_VARIABLE = "VSQLVAULT_TEST_HARDENING"
"""``required`` or ``off``: the setting of every sandbox step in tests that set none; otherwise ``auto``."""

STEPS = ("limits", "memory_lock", "no_new_privileges", "landlock", "seccomp")
NOT_SLOWED = "max_failures_per_minute = 0\n"
"""Tests present bad credentials by the hundred, all from one address; those of slowing give settings of their own."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class App:
    """One key of one app."""

    app: str
    purposes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    identity: str | None = None
    expires_at: str | None = None
    key: str = field(default_factory=lambda: f"vsk_{secrets.token_urlsafe(32)}", repr=False)

    def toml(self) -> str:
        lines = [
            "[[auth.api_keys]]",
            f"app = {json.dumps(self.app)}",
            f'key_sha256 = "{hashlib.sha256(self.key.encode()).hexdigest()}"',
            f"purposes = {json.dumps(list(self.purposes))}",
            f"roles = {json.dumps(list(self.roles))}",
        ]
        if self.identity:
            lines.append(f"identity = {json.dumps(self.identity)}")
        if self.expires_at:
            lines.append(f"expires_at = {self.expires_at}")
        return "\n".join(lines) + "\n"


def usual_apps() -> dict[str, App]:
    """Return the apps that every server knows, by the name that tests call them by."""
    return {
        "payments": App("payments", ("card",)),
        "payments-alice": App("payments", ("card",), identity="alice"),
        "billing": App("billing", ("card",)),
        "other": App("other", ("ach",)),
        "archive": App("archive", ("card", "cold", "aged")),
        "auditor": App("auditor", (), ("auditor",)),
        "operator": App("operator", (), ("admin",)),
        "expired": App("payments", ("card",), expires_at="2020-01-01T00:00:00Z"),
    }


def hardening_of_this_run() -> str:
    """Return the table ``[hardening]`` that the variable asks for; none where it is not set."""
    switch = os.environ.get(HARDENING_VARIABLE)
    return "[hardening]\n" + "".join(f'{step} = "{switch}"\n' for step in STEPS) if switch else ""


class VaultServer:
    """One directory with settings, SQLite file and logs; and the process that serves it, while it runs."""

    def __init__(
        self,
        directory: Path,
        *,
        apps: dict[str, App] | None = None,
        settings: str = "",
        api_key_header: str = "X-Vault-Key",
        database_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        is_signed: bool = True,
        start_seconds: float = START_SECONDS,
        by_exec: bool = False,
    ) -> None:
        """``is_signed=False``: no signing key can be generated beside the settings, so that nothing is signed.

        ``by_exec``: as an operator starts it; else forked from a process that has imported the program (warm_start).
        """
        self.directory = directory
        if not is_signed:
            (directory / ".vault-signing.key.part").mkdir()
        self.database_url = database_url or f"sqlite:///{directory / 'vault.db'}"
        self.apps = usual_apps() if apps is None else apps
        self.admin_key = f"vsk_{secrets.token_urlsafe(32)}"
        self.api_key_header = api_key_header
        self.address = ("127.0.0.1", 0)
        self.tls: ssl.SSLContext | None = None
        self.settings = settings if "[hardening]" in settings else settings + hardening_of_this_run()
        self._environment = dict(environment or {})
        self._process: ForkedProcess | subprocess.Popen[bytes] | None = None
        self._is_started_by_exec = by_exec
        self._start_seconds = start_seconds
        self._lines_seen = 0
        self.write_config()

    def query(self, *, sqlite: str, postgresql: str) -> list[Any]:
        """Run a statement in the storage itself, past the vault, and return its rows."""
        if self.database_url.startswith("sqlite"):
            with closing(sqlite3.connect(self.directory / "vault.db")) as file, file:
                return file.execute(sqlite).fetchall()
        return asyncio.run(self._query_postgres(postgresql))

    async def _query_postgres(self, statement: str) -> list[Any]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    @property
    def log_file(self) -> Path:
        return self.directory / "vault.log"

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def write_config(self) -> Path:
        """Write the settings as they are now; a running server reads them on ``hang_up``."""
        text = (
            '[server]\nlisten_addr = "127.0.0.1:0"\n'
            f"{self._settings_of('server')}"
            f'[storage]\ndatabase_url = "{self.database_url}"\n{self._settings_of("storage")}'
            f'[auth]\napi_key_header = "{self.api_key_header}"\napi_key_env = "VSQL_VAULT_API_KEY"\n'
            f"{self._settings_of('auth') or NOT_SLOWED}"
            f"[purge]\nsweep_interval_hours = 0\npurge_proof_hash = true\n{self._settings_of('purge')}"
            f"{self._settings_of('')}" + "".join(app.toml() for app in self.apps.values())
        )
        path = self.directory / "vault.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def _settings_of(self, section: str) -> str:
        """Return the lines of ``settings`` that stand under one of the sections written anyway; ``""``: all others."""
        written = {"server", "storage", "auth", "purge"}
        found, current = "", ""
        for line in self.settings.splitlines():
            if line.startswith("["):
                current = line.strip("[]")
                if current in written:
                    continue
            if current == section or (not section and current not in written):
                found += line + "\n"
        return found

    def command(self) -> list[str]:
        return [sys.executable, "-m", "vsqlvault", "serve", "--config", str(self.directory / "vault.toml")]

    def start(self) -> VaultServer:
        """Serve, and return once the address is known."""
        assert self._process is None
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VSQL_VAULT_")}
        environment["VSQL_VAULT_API_KEY"] = self.admin_key
        environment |= self._environment
        self._lines_seen = len(self.log_lines())
        with self.log_file.open("ab") as log:
            self._process = start_vault(
                self.command(), log, self.directory, environment, by_exec=self._is_started_by_exec
            )
        running = self.wait_for_line(lambda line: line.get("message") == "Vault API is running")
        host, _, port = running["listen_addr"].rpartition(":")
        self.address = (host, int(port))
        return self

    def wait_for_line(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first log line since the start that is wanted."""

        def look() -> dict[str, Any] | None:
            lines = self.log_lines()[self._lines_seen :]
            parsed = [json.loads(line) for line in lines if line.startswith("{")]
            found = next((line for line in parsed if wanted(line)), None)
            if found is None and self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log_lines()[-5:]}")
            return found

        return eventually(look, self._start_seconds)

    def log_lines(self) -> list[str]:
        """Return the lines that are whole: one that is read while it is written may end anywhere."""
        text = self.log_file.read_bytes() if self.log_file.exists() else b""
        return text[: text.rfind(b"\n") + 1].decode("utf-8").splitlines()

    def stop(self) -> int:
        """Ask the server to end, and return its exit code."""
        self.stop_later()
        return self.wait()

    def stop_later(self) -> None:
        """Ask the server to end."""
        self.signal(signal.SIGTERM)

    def wait(self) -> int:
        """Return the exit code of a process that is about to end."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def exit_code(self) -> int | None:
        """Return the exit code; None while the process runs."""
        return self._process.poll() if self._process is not None else None

    def kill(self) -> None:
        """End the process as a power cut would, if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def hang_up(self) -> None:
        """Have the settings read again, and return once they are."""
        self.write_config()
        before = sum("settings reloaded" in line for line in self.log_lines())
        self.signal(signal.SIGHUP)
        eventually(lambda: sum("settings reloaded" in line for line in self.log_lines()) > before)

    def key(self, who: str) -> str:
        return self.admin_key if who == ADMIN else self.apps[who].key

    def keys(self) -> list[str]:
        return [self.admin_key, *(app.key for app in self.apps.values())]

    def call(
        self,
        who: str | None,
        method: str,
        target: str | bytes,
        *,
        json_body: Any = None,
        body: bytes | None = None,
        headers: Headers = (),
        seconds: float = SECONDS,
    ) -> Answer:
        """Make one request as an app, or as nobody (None)."""
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
        if who is not None:
            pairs.append((self.api_key_header, self.key(who)))
        if json_body is not None:
            body = json.dumps(json_body).encode("utf-8")
        if body is not None and not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("Content-Type", "application/json"))
        raw = request_bytes(method, target, headers=pairs, body=body)
        return exchange(self.address, raw, method=method, seconds=seconds, tls=self.tls)

    def put(self, who: str, target: str, value: str = "vault:v1:c2VjcmV0", **fields: Any) -> Answer:
        """Store an entry at ``purpose/id``."""
        headers = fields.pop("headers", ())
        return self.call(
            who, "PUT", f"/vault/{target}", json_body={"encrypted_value": value, **fields}, headers=headers
        )

    def stored(self, who: str, target: str, value: str = "vault:v1:c2VjcmV0", **fields: Any) -> dict[str, Any]:
        """Store an entry that is not there yet, and return its document."""
        answer = self.put(who, target, value, **fields)
        assert answer.status == 201, answer
        return dict(answer.json)

    def get(self, who: str, target: str) -> Answer:
        return self.call(who, "GET", f"/vault/{target}")

    def delete(self, who: str, target: str) -> Answer:
        return self.call(who, "DELETE", f"/vault/{target}")

    def retention(self, purpose: str, *, method: str = "physical-delete", days: int = 365, ttl: int = 90) -> None:
        """Put a retention policy in force."""
        policy = {"max_retention_days": days, "default_ttl_days": ttl, "purge_method": method}
        answer = self.call(ADMIN, "PUT", f"/admin/retention-policies/{purpose}", json_body=policy)
        assert answer.status in {200, 201}, answer

    def access_policy(self, name: str, **rules: dict[str, Any]) -> dict[str, Any]:
        """Put an access policy in force."""
        answer = self.call(ADMIN, "PUT", f"/admin/access-policies/{name}", json_body={"rules": rules})
        assert answer.status in {200, 201}, answer
        return dict(answer.json)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of the access log that the query string finds, oldest first, all of them."""
        return self._log(f"/admin/access-log?{query}")

    def purge_rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of the purge log that the query string finds, oldest first, all of them."""
        return self._log(f"/admin/purge-log?{query}")

    def row(self, answer: Answer) -> dict[str, Any]:
        """Return the one row of the request that got this answer."""
        rows = self.rows(f"request_id={answer.request_id}")
        assert len(rows) == 1, rows
        return rows[0]

    def _log(self, target: str) -> list[dict[str, Any]]:
        target += "order=asc" if target.endswith("?") else "&order=asc"
        answer = self.call("auditor", "GET", target, headers={"Accept": "application/x-ndjson"})
        assert answer.status == 200, answer
        return [json.loads(line) for line in answer.body.splitlines()]

    def assert_log_is_clean(self, secrets_of_tests: Iterable[str] = ()) -> None:
        """Whatever was sent: no log line holds a key, a blob's marker or a traceback."""
        lines = self.log_lines()
        for secret in (*self.keys(), *secrets_of_tests):
            assert not [line for line in lines if secret in line]
        faults = [line[:2000] for line in lines if "Traceback" in line or "request failed" in line]
        assert not faults, "\n".join(faults)


def eventually(look: Callable[[], Found | None], seconds: float = 10.0) -> Found:
    """Return what ``look`` finds as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.01)
    return found
