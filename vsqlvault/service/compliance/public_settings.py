"""The settings in force without secrets, for evidence bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from vsqlvault.config import PublicSection, Settings
from vsqlvault.config.loading import OPEN_SECTIONS

HIDDEN = "(hidden)"
_SECRET = frozenset({"key_sha256"})
_SHOWN_OF_PLUGINS = (bool, int, float, type(None))


def public_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON types.

    Keys and their hashes are hidden. Of a database URL only the scheme is shown (and the path of a file); other URLs lose
    user, query and fragment. Of the tables of plugins only numbers and switches are shown, because their texts may be secret,
    unless the table is a ``PublicSection``.
    """
    document: dict[str, Any] = settings.model_dump(mode="json", exclude={"plugins"})
    public = {
        key
        for table in settings.plugins.values()
        if isinstance(table, PublicSection)
        for key in type(table).model_fields
    }
    shown = {section: _shown(value) for section, value in document.items()}
    for section in OPEN_SECTIONS:
        for key in set(getattr(settings, section).model_extra or ()) - public:
            shown[section][key] = _counted(document[section][key])
    shown["storage"]["database_url"] = _database(settings.storage.database_url)
    shown["plugins"] = {name: _of_plugin(name, table) for name, table in sorted(settings.plugins.items())}
    return shown


def _shown(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {each: _shown(member, each) for each, member in value.items()}
    if isinstance(value, list):
        return [_shown(member, name) for member in value]
    if name in _SECRET and value is not None:
        return HIDDEN
    return _url(value) if isinstance(value, str) and "://" in value else value


def _url(text: str) -> str:
    """Return a URL without user, query and fragment; only its scheme where it cannot be parsed reliably."""
    scheme = text.partition(":")[0]
    try:
        parts = urlsplit(text)
    except ValueError:
        return f"{scheme}:{HIDDEN}"
    if "@" in text:
        return f"{scheme}:{HIDDEN}"
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _database(url: str) -> str:
    scheme, _, rest = url.partition(":")
    return url if scheme == "sqlite" and not {"@", "?", "#"} & set(rest) else f"{scheme}:{HIDDEN}"


def _of_plugin(name: str, table: Any) -> Any:
    if name in {"allow", "block"}:
        return table
    members = table.model_dump(mode="json") if isinstance(table, BaseModel) else table
    show = _shown if isinstance(table, PublicSection) else _counted
    return {key: show(value) for key, value in sorted(dict(members).items())}


def _counted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _counted(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_counted(member) for member in value]
    return value if isinstance(value, _SHOWN_OF_PLUGINS) else HIDDEN
