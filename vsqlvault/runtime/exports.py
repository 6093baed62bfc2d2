"""Opens the destinations that the settings export the logs to."""

from __future__ import annotations

from functools import partial

from pydantic import BaseModel

from vsqlvault.config import checked_table
from vsqlvault.errors import PluginUnusable, SettingsInvalid, StartUpRefused
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.log_sink import LogSink, LogSinkKind
from vsqlvault.plugin_loader import Plugins, missing_members
from vsqlvault.service.log.observers import NamedSink


def log_sinks(plugins: Plugins) -> list[NamedSink]:
    """Return the destination of each table ``[[export]]``, not opened yet.

    Raises:
        SettingsInvalid: no plugin offers its kind, or one of its keys is invalid.
    """
    tables = plugins.settings.export
    kinds: dict[str, LogSinkKind] = plugins.offers("vault_log_sinks") if tables else {}
    found = []
    for table in tables:
        where = f"export.{table.name}"
        kind = kinds.get(table.kind)
        if kind is None:
            known = ", ".join(sorted(kinds))
            hint = did_you_mean(table.kind, kinds)
            raise SettingsInvalid(f"{where}.kind: expected one of {known}, found another word{hint}")
        chosen = checked_table(kind.model, table.options, where)
        found.append(NamedSink(table.name, partial(_opened, kind, table.name, chosen), table.from_start, table.format))
    return found


def _opened(kind: LogSinkKind, name: str, chosen: BaseModel) -> LogSink:
    """Open a destination. Raises PluginUnusable, or StartUpRefused from the plugin."""
    try:
        sink = kind.open(name, chosen)
    except StartUpRefused:
        raise
    except BaseException as error:
        raise PluginUnusable(f"export.{name}: log sink {kind.name} failed: {type(error).__name__}") from error
    if missing := missing_members(sink, LogSink):
        raise PluginUnusable(f"export.{name}: expected {missing[0]} on the log sink, found none")
    return sink
