"""Loads settings from a TOML file, then from the environment. Every error is one sentence."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from vsqlvault.config.sections import PluginSettings
from vsqlvault.config.settings import Settings
from vsqlvault.errors import SettingsInvalid

ENVIRONMENT_PREFIX = "VSQL_VAULT_"
OPEN_SECTIONS = ("auth", "storage")
_SECRET_FIELDS = re.compile(r"api_keys(?:\.\d+)?$|key_sha256|key_env|secret|password|database_url")
_WITH_USER = re.compile(r"//[^/?#]*@")


def load_settings(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the file (None: no file), apply ``VSQL_VAULT_<SECTION>__<KEY>``, and validate the result.

    Raises:
        SettingsInvalid: one sentence with the key, the expected and the found value; secrets are not shown.
    """
    tree = _read_toml(path) if path else {}
    for name, text in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            _lay_over(tree, name, text)
    try:
        return Settings.read_from(tree, str(path) if path else "settings")
    except ValidationError as refused:
        raise SettingsInvalid(_sentence(refused, str(path) if path else "settings")) from None


def with_plugin_settings(settings: Settings, offered: Iterable[PluginSettings]) -> Settings:
    """Return the settings with the tables and fields of plugins replaced by their checked models.

    Raises:
        SettingsInvalid: one does not fit its model, or belongs to no plugin that is loaded.
    """
    tables = {name: table for name, table in settings.plugins.items() if name not in {"allow", "block"}}
    checked: dict[str, Any] = {name: settings.plugins[name] for name in ("allow", "block") if name in settings.plugins}
    sections = {name: dict(_section(settings, name).model_extra or {}) for name in OPEN_SECTIONS}
    known: dict[str, dict[str, Any]] = {name: {} for name in OPEN_SECTIONS}
    for offer in offered:
        if offer.section is None:
            where, given = f"plugins.{offer.name}", tables.pop(offer.name, {})
        else:
            where = f"{settings.source}: {offer.section}"
            found = sections[offer.section]
            given = {key: found[key] for key in offer.model.model_fields if key in found}
            tables.pop(offer.name, None) if isinstance(tables.get(offer.name), offer.model) else None
        try:
            checked[offer.name] = model = offer.model.model_validate(given)
        except ValidationError as refused:
            raise SettingsInvalid(_sentence(refused, where, separator=".")) from None
        if offer.section is not None:
            known[offer.section] |= {key: getattr(model, key) for key in offer.model.model_fields}
    for blocked in settings.blocked_plugins:
        tables.pop(blocked, None)
    if tables:
        raise SettingsInvalid(f"plugins.{min(tables)}: expected a plugin that takes settings, found no such plugin")
    for name, keys in sections.items():
        if unknown := sorted(set(keys) - set(known[name])):
            raise SettingsInvalid(_unknown_key(settings, name, unknown[0]))
    update = {name: _section(settings, name).model_copy(update=keys) for name, keys in known.items()}
    return settings.model_copy(update={**update, "plugins": MappingProxyType(checked)})


def _section(settings: Settings, name: str) -> BaseModel:
    section: BaseModel = getattr(settings, name)
    return section


def _unknown_key(settings: Settings, section: str, key: str) -> str:
    return f"{settings.source}: {section}.{key}: expected a known key, found an unknown one"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise SettingsInvalid(f"{path}: expected a readable file, found: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SettingsInvalid(f"{path}: expected TOML in UTF-8, found other bytes") from None
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise SettingsInvalid(f"{path}: expected TOML, found: {error}") from None
    except RecursionError:
        raise SettingsInvalid(f"{path}: expected TOML, found it nested too deeply") from None


def _lay_over(tree: dict[str, Any], name: str, text: str) -> None:
    section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
    model = Settings.model_fields.get(section)
    if model is None or not key:
        raise SettingsInvalid(f"{name}: expected {ENVIRONMENT_PREFIX}<SECTION>__<KEY>, found no section {section!r}")
    target = tree.setdefault(section, {})
    if not isinstance(target, dict):
        raise SettingsInvalid(f"{section}: expected a table, found {_kind(target)}")
    if section == "plugins" and "__" in key:  # VSQL_VAULT_PLUGINS__PURGE_JOURNAL__PATH is [plugins.purge-journal] path
        table, _, key = key.partition("__")
        table = table.replace("_", "-")
        target = target.setdefault(table, {})
        if not isinstance(target, dict):
            raise SettingsInvalid(f"{name}: expected plugins.{table} to be a table, found {_kind(target)}")
    try:
        target[key] = _environment_value(model.annotation, key, text)
    except RecursionError:
        raise SettingsInvalid(f"{name}: expected TOML, found it nested too deeply") from None


def _environment_value(section: Any, key: str, text: str) -> Any:
    """Parse the text as TOML, unless the setting is a string."""
    field = getattr(section, "model_fields", {}).get(key)
    if field is not None and isinstance(field.default, str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _sentence(refused: ValidationError, source: str, separator: str = ": ") -> str:
    first = refused.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        return f"{source}{separator}{where}: expected a known key, found an unknown one"
    if first["type"] == "missing":
        return f"{source}{separator}{where}: expected a value, found none"
    expected = _expected(first["msg"])
    is_hidden = _SECRET_FIELDS.search(where) and not isinstance(first["input"], (dict, list))
    found = "a value that is not shown" if is_hidden else _shown(first["input"])
    return f"{source}{separator}{where}: expected {expected}, found {found}"


def _expected(message: str) -> str:
    message = message.removeprefix("Value error, ")
    for start in ("Input should be ", "String should ", "Input should "):
        if message.startswith(start):
            return message.removeprefix(start).removeprefix("a valid ")
    return message


def _shown(value: Any) -> str:
    if isinstance(value, str) and _WITH_USER.search(value):
        return "a URL with a user in it"
    if isinstance(value, (dict, list)):
        return _kind(value)
    try:
        shown = repr(value)
    except ValueError:  # an integer with more digits than Python converts
        return _kind(value)
    return shown if len(shown) <= 80 else f"{_kind(value)} of {len(str(value))} characters"  # noqa: PLR2004


def _kind(value: Any) -> str:
    return {dict: "a table", list: "a list", str: "a text", bool: "a boolean", int: "an integer"}.get(
        type(value), "a value"
    )
