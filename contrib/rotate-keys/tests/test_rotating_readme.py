"""The commands of the README run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import rotate_keys
from rotation_site import API_KEY, ENVIRONMENT, NEW, OLD, Site

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_the_commands_of_the_readme_count_and_then_move(site: Site, tmp_path: Path) -> None:
    site.fill(3)
    (block,) = re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    script = block.replace("http://localhost:8443", site.url).replace("--purpose card", f"--purpose {site.purpose}")
    command = tmp_path / "bin" / "rotate-keys"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{rotate_keys.__file__}" "$@"\n')
    command.chmod(0o700)
    done = subprocess.run(
        ["bash", "-euc", script.replace("your-secret-key", API_KEY)],
        cwd=site.directory,
        env={**ENVIRONMENT, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert (site.under(OLD), site.under(NEW)) == (0, 3)


def test_every_option_is_in_the_readme() -> None:
    printed = subprocess.run(
        [sys.executable, rotate_keys.__file__, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    options = set(re.findall(r"--[a-z][a-z-]+", printed)) - {"--help"}
    assert {option for option in options if option not in README} == set()
