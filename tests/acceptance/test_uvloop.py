"""Where uvloop is installed, a server uses it, with the whole sandbox in force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.server import VaultServer

pytest.importorskip("uvloop")
STRICT = '[hardening]\nlandlock = "required"\nseccomp = "required"\n'


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_on_uvloop_serves_inside_its_sandbox_and_ends(tmp_path: Path, workers: int) -> None:
    server = VaultServer(tmp_path, by_exec=True, settings=f"{STRICT}[server]\nworkers = {workers}\n").start()
    try:
        running = server.wait_for_line(lambda line: line.get("message") == "Vault API is running")
        assert running["event_loop"].startswith("uvloop ")
        server.retention("card")
        server.stored("payments", "card/on-uvloop", "vault:v1:value" * 10_000)
        assert server.get("payments", "card/on-uvloop").status == 200
        hardening = json.loads(server.call("auditor", "GET", "/health").body)["hardening"]
        assert hardening["seccomp"]["state"] == hardening["landlock"]["state"] == "on"
        assert server.delete("payments", "card/on-uvloop").status == 200
        assert server.stop() == 0
    finally:
        server.kill()
