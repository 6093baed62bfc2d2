"""Dependencies are no older than the versions that fixed what is known of them; what is tested is what is asked for."""

import importlib
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
ASKED = {each.name: each for each in map(Requirement, PYPROJECT["project"]["dependencies"])}
FLOORS = {
    "aiosqlite": "0.22.1",  # the connection's thread ends with it
    "asyncpg": "0.32",  # what is tested here about cancelled and late statements
    "h11": "0.16.0",  # CVE-2025-43859: a chunk's end that is none, request smuggling
    "h2": "4.4.1",  # CVE-2025-57804: CR and LF in header values; content-length twice
    "hypercorn": "0.18.0",  # the protocol that HTTP/2 is handed to here
    "joserfc": "1.8.0",  # CVE-2026-49852: an empty HMAC key; GHSA-wphv-vfrh-23q5: size with b64=false; a public key as a secret
    "pydantic": "2.14",  # the newest whose strict types and JSON schemas are pinned by tests here
    "quart": "0.20.0",  # CVE-2024-49767: memory of multipart forms
    "werkzeug": "3.1.6",  # CVE-2025-66221, CVE-2026-21860: names of devices
}


@pytest.mark.parametrize("name", FLOORS)
def test_the_project_asks_for_no_version_below_the_floor(name):
    (lowest,) = [Version(part.version) for part in ASKED[name].specifier if part.operator == ">="]
    assert lowest >= Version(FLOORS[name])


@pytest.mark.parametrize("name", ASKED)
def test_what_is_installed_is_what_is_asked_for_and_can_be_imported(name):
    assert importlib.import_module(name.replace("-", "_"))
    assert ASKED[name].specifier.contains(version(name))
