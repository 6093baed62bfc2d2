"""Compiles every module before the workers of pytest-xdist start: on a clean clone each of them would compile each module.

pytest rewrites the assertions of a test module when it is first imported: that takes four seconds of processor time for all.
"""

from __future__ import annotations

import compileall
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ("tests", "contrib/verify-audit/tests")
PACKAGES = ("vsqlvault", "plugins", "tests/support", "tests/faults", "tests/upgrades")
PROCESSES = 2


def compile_before_workers(config: pytest.Config) -> None:
    """Compile in processes of their own, if this process is the one that starts workers."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None) or sys.dont_write_bytecode:
        return
    started = []
    for number in range(PROCESSES):
        with warnings.catch_warnings(action="ignore"):  # of a thread of another plugin: what is forked needs none
            pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                compile_part(config, number)
            os._exit(0)
        started.append(pid)
    for pid in started:
        os.waitpid(pid, 0)


def compile_part(config: pytest.Config, number: int) -> None:
    """Compile every n-th module. This uses what pytest does not publish: where that has changed, nothing is compiled."""
    from _pytest.assertion import rewrite  # noqa: PLC0415 - as late as it may fail

    state = config.stash[rewrite.assertstate_key]
    for file in test_modules()[number::PROCESSES]:
        compiled = rewrite.get_cache_dir(file) / (file.stem + rewrite.PYC_TAIL)
        if not compiled.exists() or compiled.stat().st_mtime < file.stat().st_mtime:
            compiled.parent.mkdir(exist_ok=True)
            source_hash, code = rewrite._rewrite_test(file, config)
            rewrite._write_pyc(state, code, source_hash, compiled)
    for folder in PACKAGES[number::PROCESSES]:
        compileall.compile_dir(str(ROOT / folder), quiet=2)


def test_modules() -> list[Path]:
    """Return the files whose assertions pytest rewrites."""
    found = [path for folder in TESTS for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if path.name.startswith("test_") or path.name == "conftest.py")
