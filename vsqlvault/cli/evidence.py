"""``vsql-vault evidence``: writes the evidence bundle; and the check of such a file for ``verify``."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from vsqlvault.cli.checked import Checked
from vsqlvault.cli.output import add_json, print_json
from vsqlvault.cli.output_files import require_writable, written
from vsqlvault.cli.periods import add_period
from vsqlvault.cli.progress import Bar
from vsqlvault.config import Settings
from vsqlvault.durable_file import durable_file
from vsqlvault.errors import NothingSigned, SettingsInvalid
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.proof.note import VerifierKey
from vsqlvault.runtime import open_vault, run_to_end
from vsqlvault.service.compliance.evidence_check import EvidenceCheckResult, verify_evidence

MAX_SHOWN = 10
ReadSettings = Callable[[argparse.Namespace], Settings]


def add_arguments(evidence: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_json(evidence)
    evidence.add_argument("--out", required=True, type=Path, metavar="FILE", help="the ZIP file for the bundle")
    add_period(evidence, "include")


def write_evidence(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Write a bundle. The file exists only once it is complete.

    Raises:
        FileRefused: the file cannot be written. SettingsInvalid: the log is not signed. StartUpRefused,
            InvalidQuery, Unavailable.
    """
    require_writable("--out", options.out)
    from vsqlvault.report_html.page import report_page  # noqa: PLC0415 - with it comes what serving needs

    bar = Bar("leaves written")

    async def run() -> int:
        async with open_vault(read_settings(options), creates=False, hardening=()) as vault:
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
    if options.json:
        print_json({"file": str(options.out), "bytes": size})
        return
    print(f"{options.out}: {size} bytes. Verify it with: vsql-vault verify {options.out} --vkey KEY")


async def _write(path: Path, pieces: Any) -> int:
    """Write the pieces to a file that only its owner can read, and return its size."""
    size = 0
    with written("--out", path), durable_file(path) as file:
        async for piece in pieces:
            file.write(piece)
            size += len(piece)
    return size


def verify(path: Path, keys: Collection[VerifierKey], kept: Collection[str]) -> Checked:
    """Verify a bundle.

    Raises:
        NoteRefused: a kept checkpoint cannot be parsed.
    """
    bar = Bar("members checked")
    try:
        verdict = verify_evidence(path, keys, kept, bar)
    finally:
        bar.end()
    lines = [f"Note: {remark}" for remark in verdict.remarks[:MAX_SHOWN]]
    document = {
        name: getattr(verdict, name)
        for name in ("members", "checkpoints", "receipts", "attestations", "access_reviews", "rows")
    }
    document |= {"findings": list(verdict.findings), "remarks": list(verdict.remarks)}
    if verdict.manifest is not None:
        document["origin"] = verdict.manifest.origin
    if not verdict.findings:
        return Checked("evidence", True, [*lines, _summary(verdict)], document)
    lines += ["THE EVIDENCE DOES NOT VERIFY.", *(f"  {finding}" for finding in verdict.findings[:MAX_SHOWN])]
    if len(verdict.findings) > MAX_SHOWN:
        lines.append(f"  and {len(verdict.findings) - MAX_SHOWN} more")
    return Checked("evidence", False, lines, document)


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
        f"  attestations {verdict.attestations} verified, {verdict.access_reviews} access reviews\n"
        f"  replay       {verdict.rows} policies, holds, attestations and access reviews match their leaves"
    )
