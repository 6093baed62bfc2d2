"""Takes environment variables from the files that systemd or a container gives to a service as credentials."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path

from vsqlvault.errors import SettingsInvalid

DIRECTORY_VARIABLE = "CREDENTIALS_DIRECTORY"
MAX_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)


def take_credentials(environment: MutableMapping[str, str]) -> None:
    """Set a variable for each file in ``$CREDENTIALS_DIRECTORY`` whose name is in capitals, unless it is set already.

    One line feed at the end of a file is left out. Files with other names, such as ``signing.key``, are for settings that name
    a file.

    Raises:
        SettingsInvalid: a file cannot be read, is too long, or is not text.
    """
    directory = environment.get(DIRECTORY_VARIABLE)
    if not directory:
        return
    try:
        files = sorted(file for file in Path(directory).iterdir() if _NAME.fullmatch(file.name))
    except OSError as error:
        raise SettingsInvalid(f"{DIRECTORY_VARIABLE}: expected a readable directory, found: {error.strerror}") from None
    for file in files:
        if file.name not in environment:
            environment[file.name] = _content(file)


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsInvalid(f"credential {file.name}: expected a readable file, found: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise SettingsInvalid(f"credential {file.name}: expected at most {MAX_BYTES} bytes, found more")
    try:
        text = content.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise SettingsInvalid(f"credential {file.name}: expected text in UTF-8, found other bytes") from None
    if "\0" in text:
        raise SettingsInvalid(f"credential {file.name}: expected text, found a zero byte")
    return text
