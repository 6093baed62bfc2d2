"""The example in each hook's docstring is code that works."""

import asyncio
import inspect
import re
import textwrap
from pathlib import Path

import pytest
from pydantic import BaseModel

from tests.docs import api_reference
from vsqlvault import hookspecs
from vsqlvault.cli.new_plugin import KINDS
from vsqlvault.config import Section
from vsqlvault.errors import CredentialRefused, StorageUnavailable
from vsqlvault.hookspecs import PluginSettings, hookimpl
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.command import VaultCommand
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.interfaces.log_sink import LogSink, LogSinkKind
from vsqlvault.interfaces.observer import Observer
from vsqlvault.interfaces.page import Page
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.report_section import ReportSection
from vsqlvault.interfaces.request_observer import RequestObserver
from vsqlvault.interfaces.storage import StorageFactory
from vsqlvault.interfaces.stored_keys import NoStoredKeys
from vsqlvault.model.access import Deny
from vsqlvault.model.control import Check, ControlState
from vsqlvault.model.principal import Principal
from vsqlvault.model.purge import Overwrite, PurgePlan
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.testing import examples

HOOKS = [name for name in vars(hookspecs) if name.startswith("vault_")]
ARGUMENTS = {"settings": None, "stored_keys": NoStoredKeys(), "storage": {"product": "SQLite"}, "record": None}


def example_of(hook):
    match = re.search(r"Example:\n(.*)", inspect.getdoc(getattr(hookspecs, hook)), re.DOTALL)
    return textwrap.dedent(match[1])


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_each_hook_implements_it(hook):
    namespace = {
        "Anchor": Anchor, "Authenticator": Authenticator, "Check": Check, "ControlState": ControlState,
        "LogSink": LogSink, "RequestObserver": RequestObserver, "LogSinkKind": LogSinkKind, "Section": Section,
        "Observer": Observer, "PolicyEvaluator": PolicyEvaluator, "PurgeMethod": PurgeMethod, "ReportSection": ReportSection,
        "StorageFactory": StorageFactory, "VaultCommand": VaultCommand, "VaultControl": VaultControl, "Page": Page,
        "BaseModel": BaseModel, "CredentialRefused": CredentialRefused, "Deny": Deny, "Overwrite": Overwrite,
        "PluginSettings": PluginSettings, "Principal": Principal, "ProcessNeeds": ProcessNeeds, "PurgePlan": PurgePlan,
        "StorageUnavailable": StorageUnavailable, "hookimpl": hookimpl, "print": lambda *_: None,
    }  # fmt: skip
    exec(example_of(hook), namespace)
    implementation = namespace[hook]
    assert hasattr(implementation, f"{hookspecs.PROJECT}_impl")
    names = list(inspect.signature(implementation).parameters)
    assert names == list(inspect.signature(getattr(hookspecs, hook)).parameters)
    if names == ["record"]:
        return
    answer = implementation(**{name: ARGUMENTS[name] for name in names})
    if inspect.iscoroutine(answer):
        assert asyncio.run(answer) is None
    else:
        assert len(list(answer)) == 1


PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
EXAMPLES = [path for path in Path(examples.__file__).parent.glob("*.py") if path.name != "__init__.py"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_has_each_example_as_it_is_tested(example: Path) -> None:
    assert f"```python\n{example.read_text('utf-8')}```\n" in PAGE.read_text("utf-8")


def test_there_is_an_example_for_each_kind_that_new_plugin_writes() -> None:
    assert {path.stem.replace("_", "-") for path in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("hook", HOOKS)
def test_an_example_implements_each_hook(hook: str) -> None:
    assert any(f"def {hook}(" in path.read_text("utf-8") for path in EXAMPLES)


def test_the_api_page_is_that_of_the_docstrings() -> None:
    assert api_reference.PAGE.read_text("utf-8") == api_reference.page(), "run python -m tests.docs.api_reference"
