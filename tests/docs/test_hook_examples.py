"""The example in each hook's docstring is code that works."""

import asyncio
import inspect
import re
import textwrap

import pytest
from pydantic import BaseModel

from vsqlvault import hookspecs
from vsqlvault.errors import CredentialRefused, StorageUnavailable
from vsqlvault.hookspecs import PluginSettings, hookimpl
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.command import VaultCommand
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.interfaces.observer import Observer
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.report_section import ReportSection
from vsqlvault.interfaces.storage import StorageFactory
from vsqlvault.interfaces.stored_keys import NoStoredKeys
from vsqlvault.model.access import Deny
from vsqlvault.model.control import Check, ControlState
from vsqlvault.model.principal import Principal
from vsqlvault.model.purge import Overwrite, PurgePlan
from vsqlvault.model.sandbox import ProcessNeeds

HOOKS = [name for name in vars(hookspecs) if name.startswith("vault_")]
ARGUMENTS = {"settings": None, "stored_keys": NoStoredKeys(), "storage": {"product": "SQLite"}, "record": None}


def example_of(hook):
    match = re.search(r"Example:\n(.*)", inspect.getdoc(getattr(hookspecs, hook)), re.DOTALL)
    return textwrap.dedent(match[1])


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_each_hook_implements_it(hook):
    namespace = {
        "Anchor": Anchor, "Authenticator": Authenticator, "Check": Check, "ControlState": ControlState,
        "Observer": Observer, "PolicyEvaluator": PolicyEvaluator, "PurgeMethod": PurgeMethod, "ReportSection": ReportSection,
        "StorageFactory": StorageFactory, "VaultCommand": VaultCommand, "VaultControl": VaultControl,
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
