"""``vsql-vault attest``: creates a signed attestation of retention, on the vault's host."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable
from pathlib import Path

from vsqlvault.cli.output import add_json, print_json
from vsqlvault.cli.output_files import require_writable, write_document
from vsqlvault.config import Settings
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.proof.attestation import shown_attestation, summarise
from vsqlvault.runtime import open_vault, run_to_end

HAS_EXCEPTIONS = 1


def add_arguments(attest: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_json(attest)
    attest.add_argument("--out", type=Path, metavar="FILE", help="also write the attestation to FILE")


def attest(options: argparse.Namespace, read_settings: Callable[[argparse.Namespace], Settings]) -> int:
    """Attest, and return 0 if nothing is overdue and every proof verifies, else 1.

    Raises:
        FileRefused: the file cannot be written. Once the attestation is stored, it is printed instead. StartUpRefused,
            Unavailable.
    """
    require_writable("--out", options.out)

    async def run() -> Attestation:
        async with open_vault(read_settings(options), creates=False, hardening=()) as vault:
            return await vault.compliance.attestations.attest(Call(SYSTEM, secrets.token_hex(16)), trigger="command")

    made = run_to_end(run())
    shown = shown_attestation(made.document, made.note)
    if options.out:
        write_document("--out", options.out, shown)
    if options.json:
        print_json(shown)
        return 0 if made.is_clean else HAS_EXCEPTIONS
    print("\n".join(summarise(shown["attestation"])))
    if made.note is None:
        print("The attestation is not signed, because there is no signing key (vsql-vault keygen --signing)")
    if options.out:
        print(f"Written to {options.out}. Verify it with: vsql-vault verify {options.out} --vkey KEY")
    return 0 if made.is_clean else HAS_EXCEPTIONS
