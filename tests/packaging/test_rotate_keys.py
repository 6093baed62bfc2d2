"""``contrib/rotate-keys`` on PostgreSQL, by its own test: real keys, two workers, one of them killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DISTRIBUTION = Path(__file__).parents[2] / "contrib" / "rotate-keys"


def test_two_workers_and_a_kill_move_every_entry_from_one_key_to_the_next(postgres_url: str) -> None:
    environment = {
        **os.environ,
        "ROTATE_KEYS_TEST_ENTRIES": "200",
        "ROTATE_KEYS_TEST_DATABASE_URL": postgres_url,
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_rotating.py", "-k", "two_workers"],
        cwd=DISTRIBUTION,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
