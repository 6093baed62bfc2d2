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
from vsqlvault.interfaces.stored_keys import NoStoredKeys
from vsqlvault.model.access import Deny
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
