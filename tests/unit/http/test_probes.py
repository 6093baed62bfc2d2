"""The probes: live does not depend on the storage, ready is 503 with a reason while entries are not served."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.http.application import Application
from vsqlvault.http.fast_path import FastPath
from vsqlvault.http.plain_asgi import PlainAsgi
from vsqlvault.http.server.state import Counts
from vsqlvault.testing.faults import FaultyStorage
from vsqlvault.testing.vaults import a_vault, settings_for

TARGETS = ("/health/live", "/health/ready")


async def asked(app: FastPath, method: str, path: str) -> tuple[int, Any]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [],
        "scheme": "http", "client": ("127.0.0.1", 1), "http_version": "1.1",
    }  # fmt: skip
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body) if body else None


async def answers(directory: Path, change: Any = None, counts: Counts | None = None) -> dict[str, tuple[int, Any]]:
    """Return the answer to each probe by a vault to which ``change`` was applied."""
    async with a_vault(directory, wrap=FaultyStorage) as vault:
        settings = settings_for(directory)
        application = Application(settings, counts or Counts())
        application.begin(vault)
        await application.prepare()
        app = FastPath(PlainAsgi(application, 10), application.router, application, 10)
        app.use(application.dispatcher)
        if change is not None:
            change(vault)
        found = {target: await asked(app, "GET", target) for target in TARGETS}
        for target in TARGETS:
            assert await asked(app, "HEAD", target) == (found[target][0], None)
        vault.storage.disarm()
        return found


LIVE = (200, {"status": "live"})


def unready(reason: str) -> tuple[int, dict[str, str]]:
    return 503, {"status": "unavailable", "reason": reason}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSQL_VAULT_API_KEY", "a-key-for-this-test-alone")


def test_a_vault_that_serves_is_live_and_ready(tmp_path: Path) -> None:
    assert asyncio.run(answers(tmp_path)) == {"/health/live": LIVE, "/health/ready": (200, {"status": "ready"})}


def test_without_its_storage_it_is_live_and_not_ready(tmp_path: Path) -> None:
    found = asyncio.run(answers(tmp_path, lambda vault: vault.storage.arm(always=True, methods=["read"])))
    assert found == {"/health/live": LIVE, "/health/ready": unready("storage_unavailable")}


def test_in_quarantine_it_is_live_and_not_ready(tmp_path: Path) -> None:
    def quarantined(vault: Any) -> None:
        vault.log.quarantine._enter("a checkpoint of a later time", "leaves are lost", "test")

    found = asyncio.run(answers(tmp_path, quarantined))
    assert found == {"/health/live": LIVE, "/health/ready": unready("quarantined")}


def test_while_the_server_ends_it_is_live_and_not_ready(tmp_path: Path) -> None:
    found = asyncio.run(answers(tmp_path, counts=Counts(is_ending=True)))
    assert found == {"/health/live": LIVE, "/health/ready": unready("ending")}
