"""Every setting, command, metric, hook and route is documented, and everything documented exists."""

import pkgutil
import re
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from tests.support.bad_tokens import ROWS
from tests.support.settings import OFFERED
from vsqlvault import errors, hookspecs
from vsqlvault.cli import parser
from vsqlvault.config import Settings
from vsqlvault.http.metrics import Metrics
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.proof.purge_proof import proof_document
from vsqlvault_plugins.auth.jwt.settings import JwtSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def text_of(name):
    return (DOCS / name).read_text("utf-8")


@cache
def sources():
    return [path.read_text("utf-8") for folder in ("vsqlvault", "plugins") for path in (ROOT / folder).rglob("*.py")]


def all_settings():
    for section, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from (f"{section}.{key}" for key in model.model_fields)
    for offer in OFFERED:
        if offer.section is not None:
            yield from (f"{offer.section}.{key}" for key in offer.model.model_fields)


def all_errors(root=errors.VaultError):
    for error in root.__subclasses__():
        if error.__module__.startswith("vsqlvault.") and not issubclass(error, errors.StartUpRefused):
            yield error
            yield from all_errors(error)


@pytest.mark.parametrize("setting", list(all_settings()))
def test_every_setting_is_documented(setting):
    assert f"| `{setting}` |" in text_of("configuration.md")


def test_every_setting_that_is_documented_exists():
    documented = set(re.findall(r"^\| `([a-z]+\.[a-z0-9_]+)` \|", text_of("configuration.md"), re.MULTILINE))
    assert documented - {"plugins.allow", "plugins.block"} == set(all_settings())


@pytest.mark.parametrize("setting", [name for name in all_settings() if name != "purge.purge_proof_hash"])
def test_every_setting_has_a_reader(setting):
    name = setting.partition(".")[2]
    assert any(re.search(rf"(settings|table|pool|mapped|auth)\.(\w+\.)?{name}\b", source) for source in sources())


def test_every_setting_of_an_issuer_is_documented_and_no_other():
    settings = text_of("jwt.md").partition("\n## Settings\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", settings, re.MULTILINE)) == set(JwtSettings.model_fields)


def test_every_reason_for_refusing_a_token_is_documented_and_no_other():
    reasons = set(re.findall(r"^\| `(\w+)` \|", text_of("jwt.md").partition("\n## What each")[2], re.MULTILINE))
    assert reasons == {why for _, why in ROWS.values()} | {"purposes", "roles", "unknown_scheme"}


@pytest.mark.parametrize("error", sorted(set(all_errors()), key=lambda error: error.slug), ids=lambda error: error.slug)
def test_every_error_is_documented_as_it_is(error):
    assert f"| {error.status} | `{error.slug}` | {error.title()} | `{error.reason}` |" in text_of("errors.md")


def test_no_two_errors_share_a_slug():
    slugs = [error.slug for error in set(all_errors())]
    assert len(slugs) == len(set(slugs))


def test_every_metric_is_documented(vsqlvault_vault):
    exposed = Metrics(vsqlvault_vault.vault).exposition(None).body.decode()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", exposed, re.MULTILINE):
        if not name.endswith("_created"):
            assert f"| `{name}` |" in text_of("configuration.md"), (name, kind)


@pytest.mark.parametrize("hook", [name for name in vars(hookspecs) if name.startswith("vault_")])
def test_every_hook_is_documented_with_its_signature(hook):
    function = getattr(hookspecs, hook)
    arguments = ", ".join(function.__code__.co_varnames[: function.__code__.co_argcount])
    assert f"### `{hook}({arguments})`" in text_of("plugins.md")


def test_every_hook_that_is_documented_exists():
    documented = set(re.findall(r"^### `(vault_\w+)\(", text_of("plugins.md"), re.MULTILINE))
    assert documented == {name for name in vars(hookspecs) if name.startswith("vault_")}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_route_is_documented(operation):
    if operation.name != "health":
        assert f"{operation.method} {operation.path}" in text_of("http-api.md")


def test_every_command_is_documented():
    actions = [action for action in parser.command_parser()._actions if getattr(action, "choices", None)]
    for command in actions[0].choices:
        assert f"`vsql-vault {command}" in text_of("command.md")


def test_every_field_of_the_proof_is_documented(entry):
    for field in proof_document(entry, "0" * 64):
        assert f"`{field}`" in text_of("purge.md")


def test_every_module_path_in_the_docs_exists():
    pages = [ROOT / "README.md", *DOCS.rglob("*.md")]
    paths = {path for page in pages for path in re.findall(r"`(vsqlvault(?:\.\w+)+)`", page.read_text("utf-8"))}
    missing = [path for path in sorted(paths - {"vsqlvault.plugins"}) if resolved(path) is None]
    assert missing == []
    assert paths


def resolved(path):
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        return None
