"""``vsql-vault backup``: copies the storage to one file with a manifest beside it, and checks such a file."""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vsqlvault.cli.output import add_json, print_json
from vsqlvault.cli.output_files import FileRefused, require_writable, written
from vsqlvault.config import Settings
from vsqlvault.durable_file import durable_file, write_durably
from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.backup import BackupContents
from vsqlvault.model.times import format_time, utc_now
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import run_to_end, storage_of

FORMAT = "vsqlvault-backup-v1"
MANIFEST_SUFFIX = ".manifest.json"
PIECE_BYTES = 1024 * 1024
CHANGED = 1
ReadSettings = Callable[[argparse.Namespace], Settings]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_json(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--out", type=Path, metavar="FILE", help="the file for the backup; its manifest is written beside it"
    )
    parser.add_argument("--overwrite", action="store_true", help="with --out: replace an existing file")
    what.add_argument("--check", type=Path, metavar="FILE", help="only compare a backup with its manifest")


def backup(options: argparse.Namespace, read_settings: ReadSettings) -> int:
    """Write a backup, or check one. Return 0, or 1 for a backup that differs from its manifest.

    Raises:
        FileRefused: the file cannot be written. SettingsInvalid: it cannot be read, or the storage has no backup.
            StorageUnavailable, StorageFull.
    """
    if options.check:
        return _check(options.check, as_json=options.json)
    for file in (options.out, _manifest_file(options.out)):
        require_writable("--out", file)
        if file.exists() and not options.overwrite:
            raise FileRefused(f"--out: expected a new file, or also --overwrite: {file} exists")
    manifest = _write(options.out, Plugins(read_settings(options)))
    if options.json:
        print_json({"file": str(options.out), **manifest})
    else:
        print(
            f"{options.out}: {manifest['bytes']} bytes, {manifest['entries']} entries, {manifest['access_rows']} audit rows"
        )
        print(f"Check it with: vsql-vault backup --check {options.out}")
    return 0


def _write(out: Path, plugins: Plugins) -> dict[str, Any]:
    factory = storage_of(plugins)
    with written("--out", out):
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as directory:
            contents = run_to_end(factory.backup(plugins.settings.storage.database_url, Path(directory)))
            digest, size = _publish(contents.file, out)
        manifest = _manifest(contents, digest, size)
        write_durably(_manifest_file(out), json.dumps(manifest, indent=2).encode() + b"\n")
    return manifest


def _publish(copy: Path, out: Path) -> tuple[str, int]:
    """Write the copy durably under its name. Return its SHA-256 and its size."""
    digest, size = hashlib.sha256(), 0
    with copy.open("rb") as source, durable_file(out) as target:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
            target.write(piece)
    return digest.hexdigest(), size


def _manifest(contents: BackupContents, digest: str, size: int) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(contents).items() if name != "file"}
    return {"format": FORMAT, "created_at": format_time(utc_now()), "sha256": digest, "bytes": size, **facts}


def _check(path: Path, *, as_json: bool) -> int:
    try:
        manifest = json.loads(_manifest_file(path).read_bytes())
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise SettingsInvalid(f"--check: expected a backup and its manifest, found: {error.strerror}") from error
    except ValueError as error:
        raise SettingsInvalid(f"--check: expected a manifest in JSON beside {path}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise SettingsInvalid(f"--check: expected a manifest of format {FORMAT} beside {path}")
    is_same = (digest, size) == (manifest.get("sha256"), manifest.get("bytes"))
    if as_json:
        print_json({"file": str(path), "valid": is_same})
    else:
        print(f"{path}: {'as its manifest says' if is_same else 'DIFFERS FROM ITS MANIFEST'}")
    return 0 if is_same else CHANGED


def _manifest_file(path: Path) -> Path:
    return path.with_name(path.name + MANIFEST_SUFFIX)
