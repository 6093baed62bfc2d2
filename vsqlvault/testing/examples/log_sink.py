"""Exports the logs to a directory, a file for each batch."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from vsqlvault.config import Section, Settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.log_sink import ExportedRow, LogSink, LogSinkKind
from vsqlvault.model.sandbox import ProcessNeeds


class ExampleSettings(Section):
    """``[[export]]`` with ``kind = "example"``."""

    directory: str


class ExampleSink(LogSink):
    """Names each file after its first row, so that a repeated batch replaces itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def deliver(self, rows: Sequence[ExportedRow]) -> None:
        """Write a file, beside the event loop."""
        path = self.directory / f"{rows[0].index:012}.ndjson"
        await asyncio.to_thread(path.write_bytes, b"".join(row.line() + b"\n" for row in rows))


class ExampleSinks(LogSinkKind):
    """Opens directories."""

    name = "example"
    model = ExampleSettings

    def open(self, name: str, chosen: ExampleSettings) -> LogSink:
        """Return the sink of one table."""
        return ExampleSink(Path(chosen.directory))


@hookimpl
def vault_log_sinks() -> list[LogSinkKind]:
    """Offer the kind."""
    return [ExampleSinks()]


@hookimpl
def vault_process_needs(settings: Settings) -> list[ProcessNeeds]:
    """Declare the directories: everything else is closed while the vault serves."""
    tables = [table.options for table in settings.export if table.kind == ExampleSinks.name]
    return [ProcessNeeds(writable=(str(options.get("directory", "")),)) for options in tables]
