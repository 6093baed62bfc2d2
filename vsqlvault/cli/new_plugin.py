"""``vsql-vault new-plugin``: a plugin to start from, with tests that pass once it is installed."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import distributions, entry_points
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid

KINDS = (
    "authenticator", "storage", "access-policy", "purge-method", "report-section", "anchor", "observer", "log-sink",
    "request-observer", "control", "command", "page", "lifecycle",
)  # fmt: skip
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
_PYPROJECT = """[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "A plugin of vsqlvault."
requires-python = ">=3.11"
dependencies = ["vsqlvault"]

[project.optional-dependencies]
test = ["pytest>=8.4"]

[project.entry-points."vsqlvault.plugins"]
{name} = "{target}"

[tool.hatch.build.targets.wheel]
include = ["{module}.py"]

[tool.pytest.ini_options]
testpaths = ["tests"]
"""
_PROCESS_NEEDS = '''

@hookimpl
def vault_process_needs() -> list[ProcessNeeds]:
    """Declare what it reaches outside of the process: nothing."""
    return []
'''
_TESTS: Mapping[str, str] = MappingProxyType({
    "authenticator": '''
class TestAuthenticator(AuthenticatorConformance):
    @pytest.fixture
    def authenticator_case(self):
        tables = {{"plugins": {{"{name}": {{"badge": "badge-7-secret"}}}}}}
        settings = settings_with(tables, *{module}.vault_settings())
        without = settings_with({{}}, *{module}.vault_settings())
        authenticator = {module}.{words}Authenticator(settings)
        return AuthenticatorCase(authenticator, {{"x-badge": "badge-7-secret"}}, "badge-7-secret", settings, without)
''',
    "storage": '''
class TestStorage(StorageConformance):
    capabilities = StorageCapabilities()  # what the storage cannot do, such as shared=False or scrubs=False

    async def open_storage(self, directory):
        storage = await {module}.{words}Storages().open(f"{name}:///{{directory / 'vault.db'}}")
        await storage.migrate()
        return storage
''',
    "access-policy": '''
class TestEvaluator(PolicyEvaluatorConformance):
    @pytest.fixture
    def evaluator_case(self):
        return EvaluatorCase({module}.{words}Evaluator(), accepted=[an_access_policy(evaluator="{name}")])
''',
    "purge-method": '''
class TestMethod(PurgeMethodConformance):
    @pytest.fixture
    def purge_method(self):
        return {module}.{words}Method()
''',
    "report-section": '''
class TestSection(ReportSectionConformance):
    @pytest.fixture
    def report_section(self):
        return {module}.{words}Section()
''',
})  # fmt: skip
"""The tests of a kind, beside those of every plugin."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("kind", choices=KINDS, help="what the plugin offers")
    parser.add_argument("name", metavar="NAME", help="its name: lower-case words with hyphens; the folder to create")


def new_plugin(options: argparse.Namespace, _: Callable[[argparse.Namespace], Settings]) -> None:
    """Write the plugin into a new folder. Raises SettingsInvalid: the name is not one or is taken, or the folder exists."""
    folder = Path(options.name)
    if not _NAME.fullmatch(options.name):
        raise SettingsInvalid("NAME: expected lower-case words with hyphens, such as office-badge")
    if reason := _taken(options.name):
        raise SettingsInvalid(f"NAME: expected another name than {options.name}, which {reason}")
    written = skeleton(options.kind, options.name)
    try:
        (folder / "tests").mkdir(parents=True)
        for path, text in written.items():
            (folder / path).write_text(text, "utf-8")
    except OSError as error:
        raise SettingsInvalid(f"NAME: expected a folder that can be created, found: {error.strerror}") from None
    print(f"written to {folder}: {', '.join(written)}")
    print(f"to test it: pip install --editable '{folder}[test]' && python -m pytest {folder}")


def _taken(name: str) -> str:
    """Return why a plugin cannot have a name; empty if it can. Nothing of the name is imported."""
    module = name.replace("-", "_")
    if name.startswith("vsqlvault"):
        return "begins like the distributions of the vault"
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        return "is a word or a module of Python"
    if any(each.name == name for each in entry_points(group="vsqlvault.plugins")):
        return "is the name of an installed plugin"
    if name in {re.sub(r"[-_.]+", "-", each.name).lower() for each in distributions() if each.name}:
        return "is the name of an installed distribution"
    return f"is the name of the installed module {module}" if find_spec(module) is not None else ""


def skeleton(kind: str, name: str) -> dict[str, str]:
    """Return the files of a plugin, by their path in its folder."""
    module = name.replace("-", "_")
    facts = {
        "name": name,
        "module": module,
        "words": _words(name),
        "target": f"{module}:plugin" if kind == "lifecycle" else module,
    }
    return {
        "pyproject.toml": _PYPROJECT.format(**facts),
        f"{module}.py": _source(kind, name),
        f"tests/test_{module}.py": _tests(kind, facts),
    }


def _tests(kind: str, facts: Mapping[str, str]) -> str:
    of_kind = _TESTS.get(kind, "").format(**facts)
    names = sorted(
        {
            "PluginConformance",
            *re.findall(r"\b(\w+Conformance|\w+Case|StorageCapabilities|settings_with|an_access_policy)\b", of_kind),
        }
    )
    lines = ['"""The plugin keeps the promises of every plugin, and of its kind."""', ""]
    if "pytest." in of_kind:
        lines += ["import pytest"]
    lines += [f"from vsqlvault.testing import {', '.join(names)}"]
    if of_kind:
        lines += ["", f"import {facts['module']}"]
    lines += ["", "", f'class TestPlugin(PluginConformance, distribution="{facts["name"]}"):', "    pass", ""]
    return "\n".join(lines) + (f"\n{of_kind}" if of_kind else "")


def _words(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _source(kind: str, name: str) -> str:
    """Return the example of the kind under another name."""
    source = (files("vsqlvault.testing.examples") / f"{kind.replace('-', '_')}.py").read_text("utf-8")
    word = name.replace("-", "_") if kind == "control" else name  # it labels a metric
    source = source.replace("Example", _words(name)).replace("example", word)
    if "def vault_process_needs" in source:
        return source
    last = [line for line in source.splitlines(keepends=True) if line.startswith("from vsqlvault.")][-1]
    return source.replace(last, f"{last}from vsqlvault.model.sandbox import ProcessNeeds\n", 1) + _PROCESS_NEEDS
