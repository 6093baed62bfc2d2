"""The JSON Schema of the settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vsqlvault.config.loading import OPEN_SECTIONS
from vsqlvault.config.sections import PluginSettings
from vsqlvault.config.settings import Settings


def settings_schema(offered: Iterable[PluginSettings]) -> dict[str, Any]:
    """Return the JSON Schema of the settings, with the tables and keys that plugins offer."""
    schema = Settings.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    opened = {name: definitions[Settings.model_fields[name].annotation.__name__] for name in OPEN_SECTIONS}  # type: ignore[union-attr]
    tables: dict[str, Any] = {name: {"type": "array", "items": {"type": "string"}} for name in ("allow", "block")}
    for offer in offered:
        table = offer.model.model_json_schema()
        definitions |= table.pop("$defs", {})
        if offer.section is None:
            tables[offer.name] = table
        else:
            opened[offer.section]["properties"] |= table.get("properties", {})
    for section in opened.values():
        section["additionalProperties"] = False
    schema["properties"]["plugins"] |= {"properties": tables, "additionalProperties": False}
    return schema
