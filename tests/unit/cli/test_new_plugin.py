"""``vsql-vault new-plugin`` writes plugins whose tests pass."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.warm_start import run_program
from vsqlvault.cli import main
from vsqlvault.cli.new_plugin import KINDS, skeleton
from vsqlvault.config import load_settings


def install(folder: Path, name: str) -> dict[str, str]:
    """Install the plugin for processes with these variables: its metadata as pip writes it."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    about = folder / f"{name.replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
    points = project["entry-points"]["vsqlvault.plugins"]
    lines = "".join(f"{point} = {target}\n" for point, target in points.items())
    (about / "entry_points.txt").write_text(f"[vsqlvault.plugins]\n{lines}")
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_a_new_plugin_pass(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", kind, "night-watch"]) == 0
    variables = install(tmp_path / "night-watch", "night-watch")
    # Of a storage only the part that shows that it is driven: the whole suite is run on the built-in ones.
    chosen = ["-k", "Plugin or cursor or lease"] if kind == "storage" else []
    command = ["pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", *chosen, "night-watch"]
    ran = run_program(command, tmp_path, variables, 300)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert " passed" in ran.stdout


@pytest.mark.parametrize("name", ["Night", "night watch", "../night", "7", ""])
def test_a_name_that_is_none_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "observer", name]) == 2
    assert "NAME: expected lower-case words with hyphens" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["json", "vsqlvault", "vsqlvault-anything", "access-rules", "storage-sqlite", "pydantic", "python-dateutil", "class",
     "dateutil"],
)  # fmt: skip
def test_a_name_that_is_taken_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "observer", name]) == 2
    assert f"NAME: expected another name than {name}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night" / "tests").mkdir(parents=True)
    assert main(["new-plugin", "observer", "night"]) == 2
    assert not (tmp_path / "night" / "pyproject.toml").exists()


def test_a_skeleton_has_its_own_name_everywhere() -> None:
    for kind in KINDS:
        assert "xample" not in "".join(skeleton(kind, "night-watch").values())


def needs_of(kind: str, settings: str, tmp_path: Path) -> list[str]:
    """Return the paths that a new plugin declares as writable, for these settings."""
    (tmp_path / "vault.toml").write_text(settings, "utf-8")
    written = skeleton(kind, "night-watch")
    names: dict[str, Any] = {"__name__": "night_watch"}
    exec(written["night_watch.py"], names)
    declared = names["vault_process_needs"](load_settings(tmp_path / "vault.toml", {}))
    return [path for needs in declared for path in needs.writable]


def test_a_new_log_sink_declares_the_directories_that_it_writes_to(tmp_path: Path) -> None:
    settings = '[[export]]\nname = "a"\nkind = "night-watch"\ndirectory = "/var/night"\n[[export]]\nname = "b"\nkind = "file"\n'
    assert needs_of("log-sink", settings, tmp_path) == ["/var/night"]


@pytest.mark.parametrize(
    ("url", "declared"), [("night-watch:////var/night/vault.db", ["/var/night"]), ("sqlite:///x.db", [])]
)
def test_a_new_storage_declares_the_folder_of_its_file(url: str, declared: list[str], tmp_path: Path) -> None:
    assert needs_of("storage", f'[storage]\ndatabase_url = "{url}"\n', tmp_path) == declared


def test_every_kind_is_named_in_the_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text("utf-8")
    listed = page.partition("\nThe kinds are ")[2].partition(". ")[0]
    assert [kind for kind in KINDS if f"`{kind}`" not in listed] == []
