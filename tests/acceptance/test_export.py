"""A served vault, in its sandbox, exports every row of its logs, also after a restart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import VaultServer, eventually
from tests.support.siem import Endpoint

SCRIPT = Path(__file__).parents[2] / "contrib" / "verify-export" / "verify_export.py"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    yield found
    found.close()


def test_the_rows_of_both_logs_arrive_complete(tmp_path: Path, endpoint: Endpoint) -> None:
    (tmp_path / "siem").mkdir()
    server = VaultServer(
        tmp_path,
        settings=f"""
[audit]
checkpoint_interval_seconds = 0.1
[[export]]
name = "file"
kind = "file"
path = "{tmp_path / "siem" / "rows.ndjson"}"
[[export]]
name = "endpoint"
kind = "http"
url = "{endpoint.url}"
hmac_key_env = "SIEM_KEY"
""",
        environment={"SIEM_KEY": "a key of the endpoint"},
    )
    try:
        server.start()
        server.retention("card")
        for number in range(20):
            server.stored("payments", f"card/{number}")
            server.delete("payments", f"card/{number}")
        assert server.stop() == 0
        server.start()
        server.stored("payments", "card/last")

        # Reading a checkpoint makes a row of its own: it is read once.
        (tmp_path / "checkpoint").write_bytes(server.call("auditor", "GET", "/audit/checkpoint").body)

        def is_complete() -> bool:
            (tmp_path / "posted").write_bytes(b"".join(body for _, body in endpoint.requests))
            return all(
                verified(tmp_path / "checkpoint", path)
                for path in (tmp_path / "siem" / "rows.ndjson", tmp_path / "posted")
            )

        eventually(is_complete, 30)
        eventually(lambda: purges_in(tmp_path / "siem" / "rows.ndjson") == 20, 30)
        assert server.stop() == 0
        server.assert_log_is_clean(["a key of the endpoint"])
    finally:
        server.kill()


def verified(checkpoint: Path, rows: Path) -> bool:
    if not rows.exists():
        return False
    command = [sys.executable, str(SCRIPT), str(checkpoint), str(rows)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def purges_in(rows: Path) -> int:
    """Return the number of purges among the lines that are whole."""
    text = rows.read_bytes()
    return sum(json.loads(line)["log"] == "purge" for line in text[: text.rfind(b"\n")].splitlines())
