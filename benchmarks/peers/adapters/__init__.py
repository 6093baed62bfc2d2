"""What the four operations are on a server: one TOML file for each kind of server (the form is in vsqlvault.toml)."""

from __future__ import annotations

import base64
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

OPERATIONS = ("read", "create", "replace", "delete")
SUFFIX = ".toml"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A whole HTTP/1.1 request, and the statuses of a success."""

    message: bytes
    statuses: frozenset[int]


class Adapter:
    """Makes the requests of one server."""

    def __init__(self, file: Path, host: str, credential: str) -> None:
        """``file``: the adapter. ``host``: the field Host."""
        try:
            self._texts: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            raise SystemExit(f"no adapter {file}; there are: {', '.join(names())}") from None
        if missing := [each for each in OPERATIONS if each not in self._texts]:
            raise SystemExit(f"{file}: [{missing[0]}] is missing")
        fields = {"Host": host, "Content-Type": "application/json", **self._texts.get("fields", {})}
        self._fields = "".join(f"{name}: {text}\r\n" for name, text in fields.items()).replace(
            "$credential", credential
        )

    def before(self) -> list[Prepared]:
        """Return the requests that are sent once."""
        return [self._prepared(call, "", "") for call in self._texts.get("before", ())]

    def prepared(self, operation: str, number: int, value: str) -> Prepared:
        """Return the request of an operation on entry ``number``. ``value`` is ASCII that JSON need not escape."""
        return self._prepared(self._texts[operation], number, value)

    def _prepared(self, call: dict[str, Any], number: int | str, value: str) -> Prepared:
        def filled(text: str) -> str:
            text = text.replace("$name", f"e{number}").replace("$value", value)
            if "$uuid" in text:
                text = text.replace("$uuid", str(UUID(int=int(number), version=4)))
            if "$base64" in text:
                text = text.replace("$base64", base64.b64encode(value.encode()).decode())
            return text

        body = filled(call.get("body", "")).encode()
        head = f"{call['method']} {filled(call['path'])} HTTP/1.1\r\n{self._fields}Content-Length: {len(body)}\r\n\r\n"
        statuses = call.get("statuses") or [call["status"]]
        return Prepared(head.encode() + body, frozenset(statuses))


def names() -> list[str]:
    """Return the names of the adapters here."""
    return sorted(file.stem for file in Path(__file__).parent.glob(f"*{SUFFIX}"))


def adapter_file(name: str) -> Path:
    """Return the file of an adapter: one here by its name, any other by its path."""
    return Path(__file__).with_name(name + SUFFIX) if name in names() else Path(name)
