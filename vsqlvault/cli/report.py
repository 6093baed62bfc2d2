"""The report command."""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vsqlvault.cli.output_files import require_writable, written
from vsqlvault.cli.periods import add_period
from vsqlvault.config import Settings
from vsqlvault.durable_file import write_durably
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.runtime import open_vault, run_to_end

FILES = ("json", "html", "oscal")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to FILE as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report to FILE as HTML")
    parser.add_argument(
        "--oscal", type=Path, metavar="FILE", help="write the report to FILE as OSCAL assessment results"
    )
    add_period(parser, "count")


def write_report(options: argparse.Namespace, read_settings: Callable[[argparse.Namespace], Settings]) -> None:
    """Write the compliance report to standard output or to files, and print the name of each file."""
    for option in FILES:
        require_writable(f"--{option}", getattr(options, option))
    from vsqlvault.report_html.page import Reading, report_page  # noqa: PLC0415 - with it comes what serving needs
    from vsqlvault.service.compliance.evidence_bundle import report_file  # noqa: PLC0415

    async def run() -> tuple[dict[str, Any], str | None]:
        async with open_vault(read_settings(options), signs=False, verifies=True, creates=False, hardening=()) as vault:
            call = Call(SYSTEM, secrets.token_hex(16))
            written = await vault.compliance.report.write(call, options.as_of, since=options.since, until=options.until)
            newest = await vault.storage.newest_checkpoint()
            return written, newest.origin if newest else None

    report, origin = run_to_end(run())
    document = report_file(report)
    if options.json:
        _write_file("--json", options.json, document)
    if options.html:
        reading = Reading(origin, "vsql-vault report, on a host of the vault", hashlib.sha256(document).hexdigest())
        _write_file("--html", options.html, report_page(report, reading))
    if options.oscal:
        from vsqlvault.service.compliance.oscal import oscal_document  # noqa: PLC0415 - few reports need it

        text = json.dumps(oscal_document(report), indent=2, ensure_ascii=False)
        _write_file("--oscal", options.oscal, f"{text}\n".encode())
    if not options.json and not options.html and not options.oscal:
        print(json.dumps(report, indent=2, ensure_ascii=False))


def _write_file(option: str, path: Path, content: bytes) -> None:
    with written(option, path):
        write_durably(path, content, mode=0o644)
    print(f"{path}: {len(content)} bytes")
