"""``vsql-vault confirm-restore``: ends the quarantine after a restore, once the changes that it undid are repeated."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from vsqlvault.cli.output import add_json, print_json
from vsqlvault.cli.verify import CannotVerify, ReadSettings, check_export, keys_in, notes_in, required, verifiers_of
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.proof.log_check import SignedHead
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.runtime import open_vault, run_to_end
from vsqlvault.service.log.export import ExportSource, open_export
from vsqlvault.service.log.recorded_rules import RecordedRules, rules_in
from vsqlvault.service.log.restore import RestoreCount, tombstones_in
from vsqlvault.service.log.restored_rules import LostChange, RepeatedRules
from vsqlvault.service.vault import Vault

WITHOUT_EXPORT = (
    "Not checked, because there is no export: entries that were purged after the backup, API keys that were revoked, legal"
    " holds, access policies and retention policies. What the backup has is in force: purged entries can be present, revoked"
    " keys valid, and holds missing."
)
NOT_CONFIRMED = (
    "The restore is not confirmed, and a quarantine continues. Save the rules that must apply and run the command again, or add"
    " --accept-rules to accept those of the restored database. --json shows what the export has."
)

NOT_PURGED = (
    "{count} of the entries that were purged are not purged again, for example because a legal hold keeps them: they would be"
    " readable again. Release the hold, and run the command again with --accept-rules."
)


@dataclass(slots=True)
class Confirmation:
    """What the command did. ``confirmed`` None: it stopped, because rules or entries that are not purged need a decision."""

    not_checked: list[str] = field(default_factory=list)
    rules: RepeatedRules = field(default_factory=RepeatedRules)
    count: RestoreCount = field(default_factory=RestoreCount)
    confirmed: bool | None = None

    def document(self) -> Mapping[str, Any]:
        """Return the output of ``--json``."""
        return {
            "purged_again": self.count.purged,
            "failed": self.count.kept,
            "revoked_again": self.rules.revoked,
            "placed_again": self.rules.placed,
            "lost": [_document(each) for each in self.rules.lost],
            "not_checked": self.not_checked,
            "confirmed": bool(self.confirmed),
        }

    def lines(self) -> Sequence[str]:
        """Return the output for a person."""
        lines = [f"API key {key_id}: revoked again" for key_id in self.rules.revoked]
        lines += [f"legal hold {name}: placed again" for name in self.rules.placed]
        lines += [str(each) for each in self.rules.lost]
        lines += self.not_checked
        if self.confirmed is None:
            kept = [NOT_PURGED.format(count=self.count.kept)] if self.count.kept else []
            return [*lines, *kept, NOT_CONFIRMED]
        lines.append(f"{self.count.purged} purged again, {self.count.kept} failed")
        if self.confirmed:
            return [*lines, "The restore is confirmed; the quarantine has ended."]
        return [*lines, "The vault is not in quarantine, and the log continues every known checkpoint."]


def add_arguments(confirm: argparse.ArgumentParser) -> None:
    """Add the arguments of ``confirm-restore``."""
    add_json(confirm)
    confirm.add_argument(
        "--export",
        type=Path,
        metavar="FILE",
        help="a log export: purges, revocations of API keys and legal holds that it records are repeated",
    )
    confirm.add_argument(
        "--vkey", action="append", default=[], metavar="KEY", help="a verifier key for the export; repeatable"
    )
    confirm.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a checkpoint that was kept elsewhere, or the file of an anchor: the row of the confirmation names it if the"
        " log does not continue it; repeatable",
    )
    confirm.add_argument(
        "--without-export",
        action="store_true",
        help="confirm without an export; purged entries may be present again, revoked keys valid, and legal holds missing",
    )
    confirm.add_argument(
        "--accept-rules",
        action="store_true",
        help="confirm although policies or legal holds differ from those of the export, rows about rules cannot be read, or an"
        " entry that was purged is kept by a legal hold",
    )


def confirm_restore(options: argparse.Namespace, read_settings: ReadSettings) -> int:
    """Repeat the purges, revocations and legal holds that a restore undid, and record that the restore is confirmed.

    Returns 1 and confirms nothing if the export does not verify, or if other rules differ and ``--accept-rules`` is missing.

    Raises:
        CannotVerify: neither --export nor --without-export is given. StartUpRefused, Unavailable.
    """
    if (options.export is None) != options.without_export:
        raise CannotVerify("expected one of --export FILE and --without-export")
    settings = read_settings(options)
    archived = 0
    if options.export is not None:
        keys = keys_in(options.vkey) or verifiers_of(settings)
        checked = check_export(options.export, required(keys), with_tables=False)
        if not checked.verifies:
            return checked.show(as_json=options.json)
        archived = int(checked.document["rows_archived"])
    known = [note for path in options.checkpoint for note in notes_in(path)]

    async def run() -> Confirmation:
        async with open_vault(settings, signs=False, creates=False) as vault:
            if options.export is None:
                confirmation = Confirmation([WITHOUT_EXPORT])
                await _confirm(vault, _call(), confirmation, known)
                return confirmation
            with open_export(options.export) as source:
                return await _with_export(vault, source, archived, known, accepts=options.accept_rules)

    confirmation = run_to_end(run())
    if options.json:
        print_json(confirmation.document())
    else:
        print("\n".join(confirmation.lines()))
    return 1 if confirmation.confirmed is None else 0


async def _with_export(
    vault: Vault, source: ExportSource, archived: int, known: Sequence[str], *, accepts: bool
) -> Confirmation:
    """Repeat what the export records, and confirm. Holds come first: no purge may destroy what one keeps."""
    await _require_same_log(vault, source)
    call, recorded = _call(), rules_in(source.leaves())
    confirmation = Confirmation(list(_not_checked(source, vault.log.quarantine.notes, recorded, archived)))
    confirmation.rules = await vault.log.restored_rules.repeat(call, recorded)
    if (confirmation.rules.undecided or recorded.unreadable) and not accepts:
        return confirmation
    confirmation.count = await vault.log.restore.purge_again(call, tombstones_in(source.leaves()))
    if confirmation.count.kept and not accepts:  # an entry that was purged would be readable again
        return confirmation
    await _confirm(vault, call, confirmation, [*known, *await source.checkpoints()])
    return confirmation


async def _require_same_log(vault: Vault, source: ExportSource) -> None:
    """Raise CannotVerify for an export of another vault, whose keys, holds and purges must not be repeated in this one."""
    newest = await vault.storage.newest_checkpoint()
    origins = {SignedHead.parse(note).head.origin for note in await source.checkpoints()}
    if newest is not None and newest.origin not in origins:
        raise CannotVerify(f"--export: expected the log {newest.origin}, found {', '.join(sorted(origins))}")


async def _confirm(vault: Vault, call: Call, confirmation: Confirmation, known: Sequence[str]) -> None:
    confirmation.confirmed = await vault.log.restore.confirm(call, confirmation.count, known, confirmation.rules)


def _call() -> Call:
    return Call(SYSTEM, secrets.token_hex(16))


def _not_checked(source: ExportSource, notes: Sequence[str], recorded: RecordedRules, archived: int) -> Sequence[str]:
    """Return what the export cannot show, in sentences."""
    outside = max((SignedHead.parse(note).head.size for note in notes), default=0)
    lines = []
    if source.size < outside:
        lines.append(
            f"The export ends at leaf {source.size}, the latest checkpoint at {outside}: purges, revocations, legal holds and"
            " policies between them are unknown"
        )
    if archived:
        lines.append(f"Not checked: {archived} rows that are in archives and not in the export")
    if recorded.unreadable:
        lines.append(f"Not checked: {recorded.unreadable} rows about rules that cannot be read")
    return lines


def _document(lost: LostChange) -> Mapping[str, Any]:
    return {
        "kind": lost.kind.value,
        "name": lost.name,
        "what": lost.what,
        "needs_decision": lost.needs_decision,
        "exported": lost.recorded,
    }
