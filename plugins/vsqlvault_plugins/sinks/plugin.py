"""The kinds of destinations that the vault can export its logs to."""

from __future__ import annotations

from pathlib import Path

from vsqlvault.config import Settings, checked_table
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.log_sink import LogSinkKind
from vsqlvault.model.sandbox import ProcessNeeds


@hookimpl
def vault_log_sinks(settings: Settings) -> list[LogSinkKind]:
    """Return the kinds, where a table ``[[export]]`` may name one."""
    return _kinds() if settings.export else []


@hookimpl
def vault_process_needs(settings: Settings) -> list[ProcessNeeds]:
    """Declare the directories of files, the ports of receivers, and the files of certificates."""
    kinds = {kind.name: kind for kind in vault_log_sinks(settings)}
    needs = []
    for table in settings.export:
        if table.kind in kinds:
            chosen = checked_table(kinds[table.kind].model, table.options, f"export.{table.name}")
            needs.append(_needs(table.kind, chosen.model_dump()))
    return needs


def _kinds() -> list[LogSinkKind]:
    """Import what only a vault with exports uses."""
    from vsqlvault_plugins.sinks.file import FileSinks  # noqa: PLC0415
    from vsqlvault_plugins.sinks.http import HttpSinks  # noqa: PLC0415
    from vsqlvault_plugins.sinks.syslog import SyslogSinks  # noqa: PLC0415

    return [FileSinks(), HttpSinks(), SyslogSinks()]


def _needs(kind: str, chosen: dict[str, object]) -> ProcessNeeds:
    readable = tuple(str(chosen[key]) for key in ("ca_file", "client_cert_file", "client_key_file") if chosen.get(key))
    if kind == "file":
        return ProcessNeeds(writable=(str(Path(str(chosen["path"])).parent),))
    if kind == "http":
        from vsqlvault_plugins.sinks.http import port_of  # noqa: PLC0415

        return ProcessNeeds(readable=readable, connect_ports=(port_of(str(chosen["url"])),))
    return ProcessNeeds(readable=readable, connect_ports=(int(str(chosen["port"])),))
