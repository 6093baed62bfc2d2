"""The formats of log lines: JSON or text. A line contains only the fields of the call, never a request's headers."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Literal, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logging(form: Literal["json", "text"], level: str, stream: TextIO | None = None) -> None:
    """Write the vault's log lines of ``level`` and above to a stream, by default stdout, one line each."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("vsqlvault", "vsqlvault_plugins"):
        logging.getLogger(name).setLevel(level.upper())


class JsonLines(logging.Formatter):
    """Formats a line as a JSON object: ``at``, ``level``, ``logger``, ``message``, then the fields of the call."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "at": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """Formats a line as text: time, level, message, then ``key=value`` for each field, nested ones with dots."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = "".join(f" {name}={value}" for name, value in _pairs(_fields(record)))
        line = f"{_time(record)} {record.levelname.lower():<7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _pairs(fields: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield names and values in the logfmt style: a value with a space, a quote or an equals sign is quoted."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            for inner, text in _pairs(value):
                yield f"{name}.{inner}", text
        elif isinstance(value, (list, tuple)):
            yield name, _value(",".join(map(str, value)))
        else:
            yield name, _value("" if value is None else str(value))


def _value(text: str) -> str:
    is_plain = text and text.isprintable() and not set(text) & set(' "=')
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"
