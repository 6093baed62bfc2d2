"""Loads settings from a TOML file, then from the environment. Every error is one sentence."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vsqlvault.config.credentials import take_credentials
from vsqlvault.config.sections import PluginSettings
from vsqlvault.config.settings import Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.errors.wording import expected_by

ENVIRONMENT_PREFIX = "VSQL_VAULT_"
OPEN_SECTIONS = ("auth", "storage")
_LIKE = 0.6
Model = TypeVar("Model", bound=BaseModel)
_OTHER_VARIABLES = frozenset(
    ENVIRONMENT_PREFIX + name
    for name in (
        "API_KEY", "CONFIG", "ADDR", "KEY", "TOKEN", "CACERT", "CLIENT_CERT", "CLIENT_KEY", "KEY_HEADER", "PROFILE",
        "KEY_RING",
    )
)  # fmt: skip
"""What the server, the client and the key ring read beside the settings."""

_KUBERNETES = re.compile(ENVIRONMENT_PREFIX + r"(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT(?:_\d+_[A-Z]+(?:_[A-Z]+)?)?)")
"""What Kubernetes sets in every container for a Service that is called vsql-vault."""

_SECRET_FIELDS = re.compile(r"api_keys(?:\.\d+)?$|key_sha256|key_env|secret|password|database_url")
_WITH_USER = re.compile(r"//[^/?#]*@")


def load_settings(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the file (None: no file), apply ``VSQL_VAULT_<SECTION>__<KEY>``, and validate the result.

    Without ``environment``, that of the process is completed by the files in ``$CREDENTIALS_DIRECTORY``, and read.

    Raises:
        SettingsInvalid: one sentence with the key, the expected and the found value; secrets are not shown.
    """
    tree = _read_toml(path) if path else {}
    if environment is None:
        take_credentials(os.environ)
    variables = os.environ if environment is None else environment
    ours = sorted(name for name in variables if name.startswith(ENVIRONMENT_PREFIX))
    laid = {_lay_over(tree, name, variables[name]): name for name in ours if "__" in name}
    _check_variables(ours, tree)
    try:
        return Settings.read_from(tree, path, laid)
    except ValidationError as refused:
        where = tuple(str(part) for part in _worst(refused)["loc"][:2])
        source = laid.get(where) or (str(path) if path else "settings")
        raise SettingsInvalid(_sentence(refused, source, model=Settings)) from None


def with_plugin_settings(settings: Settings, offered: Iterable[PluginSettings]) -> Settings:
    """Return the settings with the tables and fields of plugins replaced by their checked models.

    Raises:
        SettingsInvalid: one does not fit its model, or belongs to no plugin that is loaded.
    """
    offered = list(offered)
    tables = {name: table for name, table in settings.plugins.items() if name not in {"allow", "block"}}
    checked: dict[str, Any] = {name: settings.plugins[name] for name in ("allow", "block") if name in settings.plugins}
    sections = {name: dict(_section(settings, name).model_extra or {}) for name in OPEN_SECTIONS}
    known: dict[str, dict[str, Any]] = {name: {} for name in OPEN_SECTIONS}
    for offer in offered:
        if offer.section is None:
            where, given = f"plugins.{offer.name}", tables.pop(offer.name, {})
        else:
            where = offer.section
            found = sections[offer.section]
            given = {key: found[key] for key in offer.model.model_fields if key in found}
            tables.pop(offer.name, None) if isinstance(tables.get(offer.name), offer.model) else None
        try:
            checked[offer.name] = model = offer.model.model_validate(given)
        except ValidationError as refused:
            sentence = _sentence(refused, where, separator=".", model=offer.model)
            if offer.section is not None:
                sentence = f"{settings.source_of(offer.section, str(_worst(refused)['loc'][0]))}: {sentence}"
            raise SettingsInvalid(sentence) from None
        if offer.section is not None:
            known[offer.section] |= {key: getattr(model, key) for key in offer.model.model_fields}
    for blocked in settings.blocked_plugins:
        tables.pop(blocked, None)
    if tables:
        hint = did_you_mean(min(tables), [offer.name for offer in offered if offer.section is None])
        raise SettingsInvalid(
            f"plugins.{min(tables)}: expected a plugin that takes settings, found no such plugin{hint}"
        )
    for name, keys in sections.items():
        if unknown := sorted(set(keys) - set(known[name])):
            raise SettingsInvalid(_unknown_key(settings, name, unknown[0], known[name]))
    update = {name: _section(settings, name).model_copy(update=keys) for name, keys in known.items()}
    return settings.model_copy(update={**update, "plugins": MappingProxyType(checked)})


def checked_table(model: type[Model], table: Mapping[str, Any], where: str) -> Model:
    """Return a table that a plugin validates by itself. ``where`` is its name in messages. Raises SettingsInvalid."""
    try:
        return model.model_validate(table)
    except ValidationError as refused:
        raise SettingsInvalid(_sentence(refused, where, separator=".", model=model)) from None


def _section(settings: Settings, name: str) -> BaseModel:
    section: BaseModel = getattr(settings, name)
    return section


def _unknown_key(settings: Settings, section: str, key: str, known: Iterable[str]) -> str:
    hint = did_you_mean(key, {*known, *type(_section(settings, section)).model_fields})
    return f"{settings.source_of(section, key)}: {section}.{key}: expected a known key, found an unknown one{hint}"


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


def _check_variables(names: Iterable[str], tree: Mapping[str, Any]) -> None:
    """Refuse variables that nothing reads: one that is misspelled would be ignored."""
    read = {*_OTHER_VARIABLES, *_named_variables(tree)}
    for name in names:
        if "__" not in name and name not in read and not _KUBERNETES.fullmatch(name):
            hint = _nearest_variable(name, {*read, *_setting_variables()})
            raise SettingsInvalid(f"{name}: expected a variable that vsql-vault reads, found an unknown one{hint}")


def _named_variables(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield the variables that the settings name: the values of keys that end with ``_env``."""
    waiting: list[Any] = [tree]
    while waiting:
        place = waiting.pop()
        for key, value in place.items() if isinstance(place, dict) else enumerate(place):
            if isinstance(value, (dict, list)):
                waiting.append(value)
            elif isinstance(value, str) and str(key).endswith("_env"):
                yield value


def _nearest_variable(name: str, known: Iterable[str]) -> str:
    """Return a hint: names are compared without their prefix, with and without their section."""

    def likeness(other: str) -> float:
        rest = other.removeprefix(ENVIRONMENT_PREFIX)
        return max(SequenceMatcher(None, word, part).ratio() for part in {rest, rest.rpartition("__")[2]})

    word = name.removeprefix(ENVIRONMENT_PREFIX)[:128]
    nearest = max(sorted(known), key=likeness)
    return f" (did you mean {nearest}?)" if likeness(nearest) >= _LIKE else ""


def _setting_variables() -> Iterator[str]:
    for section, field in Settings.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            yield f"{ENVIRONMENT_PREFIX}{section}__{key}".upper()


def _lay_over(tree: dict[str, Any], name: str, text: str) -> tuple[str, ...]:
    """Put the variable's value into the tree, and return its place there."""
    section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
    model = Settings.model_fields.get(section)
    if model is None or not key:
        hint = did_you_mean(section, Settings.model_fields)
        raise SettingsInvalid(
            f"{name}: expected {ENVIRONMENT_PREFIX}<SECTION>__<KEY>, found no section {section!r}{hint}"
        )
    if not text:
        raise SettingsInvalid(f"{name}: expected a value, found an empty variable")
    place = section, key.partition("__")[0]
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
    return place


def _environment_value(section: Any, key: str, text: str) -> Any:
    """Parse the text as TOML, unless the setting is a string."""
    field = getattr(section, "model_fields", {}).get(key)
    if field is not None and isinstance(field.default, str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _sentence(
    refused: ValidationError, source: str, separator: str = ": ", model: type[BaseModel] | None = None
) -> str:
    first = _worst(refused)
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        return (
            f"{source}{separator}{where}: expected a known key, found an unknown one{_nearest_key(model, first['loc'])}"
        )
    if first["type"] == "missing":
        return f"{source}{separator}{where}: expected a value, found none"
    expected = expected_by(first, mapping="a table")
    is_hidden = _SECRET_FIELDS.search(where) and not isinstance(first["input"], (dict, list))
    found = "a value that is not shown" if is_hidden else _shown(first["input"])
    return f"{source}{separator}{where}: expected {expected}, found {found}"


def _worst(refused: ValidationError) -> ErrorDetails:
    """Return the first unknown key, which is the cause where another one is missing; else the first error."""
    errors = refused.errors(include_url=False)
    return next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])


def _nearest_key(model: type[BaseModel] | None, place: Sequence[int | str]) -> str:
    """Return a hint at the key that was probably meant, in the table where the unknown one is or in another one."""
    *tables, key = place
    found: Any = model
    for name in tables:
        if isinstance(name, str):
            found = _model_in(getattr(found, "model_fields", {}).get(name))
    if hint := did_you_mean(str(key), getattr(found, "model_fields", {})):
        return hint
    elsewhere = [
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        if model is Settings and key in getattr(field.annotation, "model_fields", {})
    ]
    return f" (did you mean {elsewhere[0]}?)" if elsewhere else ""


def _model_in(field: Any) -> Any:
    """Return the model of a table, or of each table of a list."""
    waiting = [getattr(field, "annotation", None)]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
        waiting += get_args(kind)
    return None


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
