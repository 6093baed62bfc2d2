"""``vsql-vault evidence``: writes the evidence bundle; and the check of such a file for ``verify``."""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from vsqlvault.cli.progress import Bar
from vsqlvault.config import Settings
from vsqlvault.errors import NothingSigned, SettingsInvalid
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.proof.note import VerifierKey
from vsqlvault.runtime import open_vault, run_to_end
from vsqlvault.service.compliance.evidence_check import EvidenceCheckResult, verify_evidence

NOT_AS_SIGNED = 1
MAX_SHOWN = 10
ReadSettings = Callable[[argparse.Namespace], Settings]
ReadTime = Callable[[str], Any]


def add_arguments(evidence: argparse.ArgumentParser, read_time: ReadTime) -> None:
    """Add the arguments of the command."""
    evidence.add_argument("--out", required=True, type=Path, metavar="FILE", help="the ZIP file for the bundle")
    for name, text in (
        ("--as-of", "count entries as of this instant"),
        ("--since", "include the logs from this time, inclusive"),
        ("--until", "include the logs up to this time, exclusive"),
    ):
        evidence.add_argument(name, type=read_time, metavar="TIME", help=f"{text}, such as 2027-02-16T00:00:00Z")


def write_evidence(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Write a bundle. The file exists only once it is complete.

    Raises:
        SettingsInvalid: the log is not signed, or the file cannot be written. StartUpRefused, InvalidQuery, Unavailable.
    """
    from vsqlvault.report_html.page import report_page  # noqa: PLC0415 - with it comes what serving needs

    bar = Bar("leaves written")

    async def run() -> int:
        async with open_vault(read_settings(options)) as vault:
            pieces = await vault.compliance.evidence.bundle(
                Call(SYSTEM, secrets.token_hex(16)),
                report_page,
                as_of=options.as_of,
                since=options.since,
                until=options.until,
                progress=bar,
            )
            return await _write(options.out, pieces)

    try:
        size = run_to_end(run())
    except NothingSigned:
        raise SettingsInvalid(
            "audit.signing_key_file: expected a signing key and a signed log, found none (vsql-vault keygen --signing)"
        ) from None
    finally:
        bar.end()
    print(f"{options.out}: {size} bytes. Verify it with: vsql-vault verify {options.out} --vkey KEY")


async def _write(path: Path, pieces: Any) -> int:
    """Write the pieces to a temporary file, readable only by its owner, and rename it once it is complete."""
    if not path.name:
        raise SettingsInvalid(f"--out: expected a file, found {path}")
    beside = path.with_name(f".{path.name}.part")
    size = 0
    is_ours = False
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        is_ours = True
        with os.fdopen(descriptor, "wb") as file:
            async for piece in pieces:
                file.write(piece)
                size += len(piece)
        beside.replace(path)
    except OSError as error:
        raise SettingsInvalid(f"--out: expected a writable file, found: {error.strerror}") from error
    finally:
        if is_ours:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
    return size


def verify(path: Path, keys: Collection[VerifierKey], kept: Collection[str]) -> int:
    """Verify a bundle, print the result, and return 0 if it verifies, else 1.

    Raises:
        NoteRefused: a kept checkpoint cannot be parsed.
    """
    bar = Bar("members checked")
    try:
        verdict = verify_evidence(path, keys, kept, bar)
    finally:
        bar.end()
    for remark in verdict.remarks[:MAX_SHOWN]:
        print(f"Note: {remark}")
    if not verdict.findings:
        print(_summary(verdict))
        return 0
    print("THE EVIDENCE DOES NOT VERIFY.")
    for finding in verdict.findings[:MAX_SHOWN]:
        print(f"  {finding}")
    if len(verdict.findings) > MAX_SHOWN:
        print(f"  and {len(verdict.findings) - MAX_SHOWN} more")
    return NOT_AS_SIGNED


def _summary(verdict: EvidenceCheckResult) -> str:
    manifest = verdict.manifest
    if manifest is None:
        return ""
    return (
        f"The evidence verifies: {verdict.members} members. {manifest.origin}, as of {manifest.as_of}:\n"
        f"  period       from {manifest.since} to {manifest.until}\n"
        f"  log          leaves {manifest.first} to {manifest.end} of {manifest.size},"
        f" under {verdict.checkpoints} checkpoints\n"
        f"  receipts     {verdict.receipts} verified\n"
        f"  attestations {verdict.attestations} verified"
    )
