"""``python -m tests.mutants [NAME ...]``: applies each fault in a copy, and shows which test kills it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
COPIED = ("vsqlvault", "plugins", "tests", "docs", "conftest.py", "pyproject.toml", "README.md")
SECONDS = 300
KILLED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def main(names: list[str]) -> int:
    survivors = 0
    for mutant in MUTANTS:
        if names and mutant.name not in names:
            continue
        began = time.monotonic()
        killer = killed_by(mutant)
        survivors += killer is None
        print(f"{mutant.name}: {killer or 'SURVIVED'} ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"{survivors} survived")
    return 1 if survivors else 0


def killed_by(mutant: Mutant) -> str | None:
    """Return the first test that fails with the fault in a copy of the project; None if all pass."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for each in COPIED:
            source = ROOT / each
            if source.is_dir():
                shutil.copytree(source, copy / each, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / each)
        file = copy / mutant.file
        file.write_text(file.read_text("utf-8").replace(mutant.old, mutant.new), "utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests],
                cwd=copy, env={**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{copy / 'plugins'}"},
                capture_output=True, text=True, timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"no test, but none ended within {SECONDS} s"
    if done.returncode == 0:
        return None
    found = KILLED.search(done.stdout)
    return found.group(1) if found else f"pytest ended with code {done.returncode}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
