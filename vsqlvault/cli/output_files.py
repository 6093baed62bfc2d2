"""The files that commands write: checked before a command does anything, and never the reason why its result is lost."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vsqlvault.cli.output import print_json
from vsqlvault.durable_file import write_durably

SHOWN = "its content was printed to standard output instead"


class FileRefused(Exception):
    """A file or a directory of an option cannot be used. The text names the option, and the path as it was given."""


def require_writable(option: str, path: Path | str | None) -> None:
    """Check that a file can be written: before the command does anything. None is an option that was not given.

    Raises:
        FileRefused: its folder does not exist or cannot be written, or the path is a folder or no regular file.
    """
    if path is None:
        return
    target = Path(path)
    if os.path.isdir(target):  # noqa: PTH112 - unlike Path, it fails for no path
        raise _refused(option, path, "it is a folder")
    if not os.path.isdir(target.parent):  # noqa: PTH112
        raise _refused(option, path, f"the folder {target.parent} does not exist")
    try:
        if not stat.S_ISREG(target.stat().st_mode):
            raise _refused(option, path, "it is no regular file")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _refused(option, path, f"{error.strerror}") from None
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise _refused(option, path, f"nothing can be written in its folder: {error.strerror}") from None


def require_directory(option: str, path: Path) -> None:
    """Check that a directory exists. Raises FileRefused."""
    if not path.is_dir():
        raise FileRefused(f"{option}: expected a directory that exists, found {path}")


def write_file(option: str, path: Path | str, content: bytes, *, mode: int = 0o600) -> None:
    """Write a whole file. If that fails, print the content instead. Raises FileRefused."""
    try:
        write_durably(Path(path), content, mode=mode)
    except OSError as error:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        raise _refused(option, path, f"{error.strerror}; {SHOWN}") from None


def write_document(option: str, path: Path | str, document: Any, *, indent: int = 1) -> None:
    """Write a JSON document. If that fails, print it on one line instead. Raises FileRefused."""
    content = json.dumps(document, ensure_ascii=False, indent=indent)
    try:
        write_durably(Path(path), f"{content}\n".encode())
    except OSError as error:
        print_json(document)
        raise _refused(option, path, f"{error.strerror}; {SHOWN}") from None


@contextmanager
def written(option: str, path: Path) -> Iterator[None]:
    """Name the option and the path in an error of the file system. Raises FileRefused."""
    try:
        yield
    except OSError as error:
        raise _refused(option, path, f"{error.strerror}") from error


def _refused(option: str, path: Path | str, why: str) -> FileRefused:
    return FileRefused(f"{option}: expected a writable file, found {path}: {why}")
