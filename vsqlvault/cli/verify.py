"""``vsql-vault verify`` and ``export-audit``: commands for the transparency log."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from vsqlvault.cli.checked import Checked, is_report
from vsqlvault.cli.evidence import verify as verify_evidence
from vsqlvault.cli.output import add_json, print_json
from vsqlvault.cli.output_files import require_writable
from vsqlvault.cli.progress import Bar
from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid, StartUpRefused
from vsqlvault.interfaces.storage import Storage
from vsqlvault.plugin_loader import Plugins
from vsqlvault.proof import access_review
from vsqlvault.proof.access_review import MEMBER, check_access_review
from vsqlvault.proof.attestation import AttestationInvalid, check_attestation, summarise
from vsqlvault.proof.credential_replay import CredentialReplay, VaultReplay
from vsqlvault.proof.note import KeyInvalid, NoteRefused, VerifierKey
from vsqlvault.proof.receipt import FORMAT as RECEIPT
from vsqlvault.proof.receipt import ReceiptInvalid, check_answer
from vsqlvault.proof.table_check import StateFinding
from vsqlvault.runtime import migrate_at_start, open_storage, run_to_end
from vsqlvault.service.compliance.evidence_check import is_evidence
from vsqlvault.service.log.archive.rows import archive_documents
from vsqlvault.service.log.archive.source import at_hand, verify_with_archives
from vsqlvault.service.log.export import open_export, write_export
from vsqlvault.service.log.export_tables import check_tables
from vsqlvault.service.log.signing_keys import load_signing
from vsqlvault.service.log.state_check import StateResult, check_state
from vsqlvault.service.log.verification import LogSource, StorageSource, VerificationResult, verify_log

MAX_SHOWN = 10
LOG_ALONE = "The export has no tables: it proves the log alone. Write one with them: export-audit --with-tables."
_NOTHING: Mapping[str, Any] = MappingProxyType({})
MAX_FILE_BYTES = 4 * 1024 * 1024
Answer = TypeVar("Answer")
ReadSettings = Callable[[argparse.Namespace], Settings]


class CannotVerify(StartUpRefused):
    """The file, the key or a checkpoint cannot be used."""


def add_arguments(verify: argparse.ArgumentParser) -> None:
    """Add the arguments of ``verify``."""
    verify.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="a log export, an evidence file, a receipt, an attestation or an access review; default: this vault's log",
    )
    verify.add_argument(
        "--vkey",
        action="append",
        default=[],
        metavar="KEY",
        help="a verifier key, or a file with verifier keys; repeatable",
    )
    verify.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a checkpoint that you kept; repeatable",
    )
    verify.add_argument(
        "--without-values",
        action="store_true",
        help="do not read the values of this vault, and do not compare them with their hashes",
    )
    verify.add_argument(
        "--archive",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="a directory with archives: verify them and the log as one; repeatable",
    )
    add_json(verify)


def add_export_arguments(export: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export-audit``."""
    add_json(export)
    export.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file for the export")
    export.add_argument(
        "--with-tables",
        action="store_true",
        help="also write the tables, without values, so that verify compares them with the log; the file then contains the"
        " metadata of every entry",
    )


def verify(options: argparse.Namespace, read_settings: ReadSettings) -> int:
    """Verify an export, a receipt, or the log of the vault itself; return 0 if it verifies, else 1.

    Raises:
        CannotVerify: the file, the key or a checkpoint cannot be used. StartUpRefused, Unavailable.
    """
    keys, kept = keys_in(options.vkey), [note for path in options.checkpoint for note in notes_in(path)]
    try:
        return _checked(options, read_settings, keys, kept).show(as_json=options.json)
    except NoteRefused as refused:
        raise CannotVerify(f"--checkpoint: {refused}") from None


def _checked(
    options: argparse.Namespace, read_settings: ReadSettings, keys: Sequence[VerifierKey], kept: Sequence[str]
) -> Checked:
    if options.file is None:
        return _verify_vault(read_settings(options), keys, kept, options)
    if document := _document_in(options.file):
        check = next((each for name, each in _SIGNED.items() if name in document), _verify_receipt)
        return check(document, required(keys))
    if is_evidence(options.file):
        return verify_evidence(options.file, required(keys), kept)
    return check_export(options.file, required(keys), kept, archives=options.archive)


def export(options: argparse.Namespace, read_settings: ReadSettings) -> None:
    """Write the log of the vault to one file. Raises FileRefused, StartUpRefused, Unavailable."""
    require_writable("--out", options.out)
    settings = read_settings(options)
    verifier = _verifier(settings)
    bar = Bar("leaves written")

    async def write(storage: Storage) -> int:
        tables_of = storage if options.with_tables else None
        return await write_export(options.out, StorageSource(storage), verifier, bar, tables_of)

    try:
        size = run_to_end(_with_storage(settings, write))
    finally:
        bar.end()
    if options.json:
        print_json({"file": str(options.out), "leaves": size})
        return
    print(f"{options.out}: {size} leaves. Verify it with: vsql-vault verify {options.out} --vkey KEY")


def check_export(
    path: Path,
    keys: Sequence[VerifierKey],
    kept: Sequence[str] = (),
    *,
    with_tables: bool = True,
    archives: Sequence[Path] = (),
) -> Checked:
    """Verify a log export. ``with_tables``: also compare its tables. Raises CannotVerify, ExportUnreadable, NoteRefused."""
    with open_export(path) as source:
        replay = VaultReplay() if with_tables and source.has_tables else None
        verdict = run_to_end(_verified(source, keys, kept, replay, archives, source.archives))
        further = at_hand(verdict, with_archives=bool(archives))
        if replay is None:
            lines = [*further, LOG_ALONE] if with_tables else further
            return _of_log(verdict, lines, {"has_tables": source.has_tables, "rows_archived": verdict.archived})
        state = _with_credentials(check_tables(source.lines, replay, source.size), replay.credentials)
        verdict = verdict.with_tables(state.findings)
        log = _of_log(verdict, further, {"has_tables": True, "rows_archived": verdict.archived})
        return _with_state(log, state, "the file has no values", rows_skipped=state.skipped)


async def _verified(
    source: LogSource,
    keys: Sequence[VerifierKey],
    kept: Sequence[str],
    replay: VaultReplay | None,
    directories: Sequence[Path],
    documents: Sequence[str],
) -> VerificationResult:
    """Verify a log, with its archives if there are directories. ``documents``: the records of archives in the vault."""
    bar = Bar("leaves checked")
    try:
        if directories:
            return await verify_with_archives(source, keys, kept, bar, replay, directories, documents)
        return await verify_log(source, keys, kept, bar, replay, documents)
    finally:
        bar.end()


def verifiers_of(settings: Settings) -> list[VerifierKey]:
    """Return the verifier keys of the settings. Raises CannotVerify: a signing key is not available."""
    try:
        signing = load_signing(settings.audit, default_file=settings.default_signing_key_file)
    except SettingsInvalid as error:
        raise CannotVerify(f"{error}; or use --vkey KEY, which needs no signing key") from None
    return [signer.verifier for signer in (signing.current, signing.previous) if signer]


def _verifier(settings: Settings) -> VerifierKey | None:
    """Return the verifier key for an export, or None with a note if the signing key is not available."""
    try:
        signer = load_signing(settings.audit, default_file=settings.default_signing_key_file).current
    except SettingsInvalid as error:
        print(f"note: the export contains no verifier key: {error}", file=sys.stderr)
        return None
    return signer.verifier if signer else None


def _verify_vault(
    settings: Settings, keys: Sequence[VerifierKey], kept: Sequence[str], options: argparse.Namespace
) -> Checked:
    trusted, with_values = list(keys) or verifiers_of(settings), not options.without_values

    async def check(storage: Storage) -> tuple[VerificationResult, int, StateResult]:
        source, replay = StorageSource(storage), VaultReplay()
        documents = await archive_documents(storage)
        verdict = await _verified(source, required(trusted), kept, replay, options.archive, documents)
        state = await check_state(storage, source, replay, with_values=with_values)
        return verdict.with_tables(state.findings), source.waiting, _with_credentials(state, replay.credentials)

    verdict, waiting, state = run_to_end(_with_storage(settings, check))
    further = list(at_hand(verdict, with_archives=bool(options.archive)))
    if waiting:
        further.append(f"{waiting} newer rows are not covered by this checkpoint and were not verified")
    if not keys:
        further.append(
            "The verifier key comes from the settings. Use --vkey to verify with a key that an operator cannot change."
        )
    found = {"rows_not_covered": waiting, "key_from_settings": not keys, "rows_archived": verdict.archived}
    log = _of_log(verdict, further, found)
    values = f"{state.values} values match their hashes" if with_values else "the values were not read"
    return _with_state(log, state, values)


def _with_credentials(state: StateResult, replay: CredentialReplay) -> StateResult:
    """Return the result with the rows about credentials of the settings that disagree with each other."""
    found = [
        StateFinding("credentials of the settings", f"leaf {index}", index, what) for index, what in replay.findings
    ]
    return replace(state, findings=[*state.findings, *found])


def _with_state(log: Checked, state: StateResult, values: str, **found: int) -> Checked:
    """Return the result of the log with that of the tables, which are compared with what the leaves say."""
    findings = [{"table": each.table, "key": each.key, "leaf": each.leaf, "what": each.what} for each in state.findings]
    document = {**log.document, "state": {"values": state.values, "findings": findings, **found}}
    if not findings:
        line = f"The tables are as the log says, and {values}."
        return Checked(log.kind, log.verifies, [*log.lines, line, *_skipped(state)], document)
    lines = ["THE TABLES ARE NOT AS THE LOG SAYS."]
    lines += [f"  {each}" for each in state.findings[:MAX_SHOWN]]
    if len(findings) > MAX_SHOWN:
        lines.append(f"  and {len(findings) - MAX_SHOWN} more")
    return Checked(log.kind, False, [*log.lines, *lines], document)


def _skipped(state: StateResult) -> list[str]:
    if not state.skipped:
        return []
    return [f"{state.skipped} rows changed while the export was written and were not compared."]


async def _with_storage(settings: Settings, work: Callable[[Storage], Awaitable[Answer]]) -> Answer:
    storage = await open_storage(Plugins(settings), creates=False)
    try:
        await migrate_at_start(storage, settings, creates=False)
        return await work(storage)
    finally:
        await storage.close()


def _verify_receipt(document: dict[str, Any], keys: Sequence[VerifierKey]) -> Checked:
    try:
        shown = check_answer(document, keys)
    except ReceiptInvalid as invalid:
        return Checked("receipt", False, [f"THE RECEIPT DOES NOT VERIFY: {invalid}"], {"findings": [str(invalid)]})
    row = shown.row
    lines = [
        f"The receipt verifies. Leaf {shown.index} of {shown.head.size} in {shown.head.origin}:",
        f"  purged       {row['purpose']}/{row['external_id']}, version {row['entry_version']}, at {row['purged_at']}",
        f"  method       {row['method']}, reason {row['reason']}, by {row['app']}",
        f"  entry hash   {row['proof_hash']}",
    ]
    if reached := document.get("receipt", document).get("not_reached"):
        lines.append("The purge does not reach: " + ", ".join(map(str, reached)))
    found = {"origin": shown.head.origin, "index": shown.index, "size": shown.head.size, "row": row}
    return Checked("receipt", True, lines, found)


def _verify_attestation(shown: dict[str, Any], keys: Sequence[VerifierKey]) -> Checked:
    try:
        document = check_attestation(shown, keys)
    except AttestationInvalid as invalid:
        text = f"THE ATTESTATION DOES NOT VERIFY: {invalid}"
        return Checked("attestation", False, [text], {"findings": [str(invalid)]})
    try:
        lines = ["The attestation verifies.", *summarise(document)]
    except (KeyError, TypeError, ValueError):
        lines = ["The attestation verifies. This version cannot show its content."]
    return Checked("attestation", True, lines, {"attestation": document})


def _verify_access_review(shown: dict[str, Any], keys: Sequence[VerifierKey]) -> Checked:
    try:
        document = check_access_review(shown, keys)
    except AttestationInvalid as invalid:
        text = f"THE ACCESS REVIEW DOES NOT VERIFY: {invalid}"
        return Checked("access review", False, [text], {"findings": [str(invalid)]})
    try:
        lines = ["The access review verifies.", *access_review.summarise(document)]
    except (KeyError, TypeError, ValueError):
        lines = ["The access review verifies. This version cannot show its content."]
    return Checked("access review", True, lines, {MEMBER: document})


_SIGNED = {"attestation": _verify_attestation, MEMBER: _verify_access_review}


def _of_log(verdict: VerificationResult, further: Sequence[str] = (), found: Mapping[str, Any] = _NOTHING) -> Checked:
    document = {
        "origin": verdict.origin,
        "size": verdict.size,
        "checkpoints": verdict.checkpoints,
        "findings": [{"index": each.index, "what": each.what} for each in verdict.findings],
        "remarks": list(verdict.remarks),
        "restores": [
            {"index": each.index, "at": each.at, "app": each.app, "sizes_given_up": each.sizes}
            for each in verdict.restores
        ],
        **found,
    }
    lines = [f"Note: {remark}" for remark in verdict.remarks[:MAX_SHOWN]]
    if verdict.is_good:
        lines.append(
            f"The log verifies: {verdict.size} leaves of {verdict.origin}, each computed from its row,"
            f" under {verdict.checkpoints} checkpoints."
        )
        return Checked("log", True, [*lines, *further], document)
    lines.append(f"THE LOG DOES NOT VERIFY. The first bad index is {verdict.findings[0].index}.")
    lines += [f"  {finding.index}: {finding.what}" for finding in verdict.findings[:MAX_SHOWN]]
    if len(verdict.findings) > MAX_SHOWN:
        lines.append(f"  and {len(verdict.findings) - MAX_SHOWN} more")
    return Checked("log", False, [*lines, *further], document)


def required(keys: Sequence[VerifierKey]) -> Sequence[VerifierKey]:
    """Return the keys. Raises CannotVerify: there are none."""
    if not keys:
        raise CannotVerify("--vkey: expected a verifier key, found none")
    return keys


def add_verifier_keys(parser: argparse.ArgumentParser) -> None:
    """Add ``--vkey``, for a command that otherwise takes the keys of the settings. ``keys_in`` reads its values."""
    parser.add_argument(
        "--vkey",
        action="append",
        default=[],
        metavar="KEY",
        help="a verifier key, or a file with verifier keys; default: those of the settings; repeatable",
    )


def keys_in(texts: Sequence[str]) -> list[VerifierKey]:
    """Return the verifier keys in texts and files. Raises CannotVerify."""
    lines = [line for text in texts for line in (_read_text(Path(text)) if _is_file(text) else text).split("\n")]
    try:
        return [VerifierKey.parse(line) for line in lines if line.strip()]
    except KeyInvalid as error:
        raise CannotVerify(f"--vkey: {error}, or a file with verifier keys") from None


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _document_in(path: Path) -> dict[str, Any] | None:
    """Return a receipt, alone or in a response of DELETE, attestation or access review; None for any other file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise CannotVerify(f"{path}: expected a readable file, found: {error.strerror}") from None
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = {}
    if is_report(document):
        raise CannotVerify(
            f"{path}: expected a file with a signature, found a compliance report, which has none: verify the evidence file"
            " that contains it (vsql-vault evidence)"
        )
    if any(isinstance(document.get(member), dict) for member in _SIGNED):
        return dict(document)
    receipt = document.get("receipt", document)
    if not isinstance(receipt, dict) or receipt.get("format") != RECEIPT:
        raise CannotVerify(f"{path}: expected a receipt with the format {RECEIPT}, an attestation or an access review")
    return dict(document)


def notes_in(path: Path) -> list[str]:
    """Return the checkpoints in a file: one as it was served, or several in the format of the file anchor.

    Raises CannotVerify.
    """
    text = _read_text(path)
    if not text.startswith("{"):
        return [f"{text.rstrip()}\n"]
    try:
        return [str(json.loads(line)["note"]) for line in text.split("\n") if line.strip()]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CannotVerify(f"{path}: expected a checkpoint, or JSON lines with a note each") from None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode()
    except OSError as error:
        raise CannotVerify(f"{path}: expected a readable file, found: {error.strerror}") from None
    except ValueError:
        raise CannotVerify(f"{path}: expected UTF-8 text") from None
