"""``policy`` and ``hold``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vsqlvault.cli.client.arguments import WrongArgument
from vsqlvault.cli.client.values import metadata_of, place_of, read_document
from vsqlvault.cli.output import document_of, print_json, print_members, print_rows
from vsqlvault.cli.output_files import require_writable, write_document
from vsqlvault.client import Hold, RetentionPolicy, Vault
from vsqlvault.client.errors import PolicyNotFound
from vsqlvault.errors.suggestions import did_you_mean

ACCESS_COLUMNS = ("name", "version", "evaluator", "built_in", "created_by", "created_at", "description")
RETENTION_COLUMNS = (
    "purpose",
    "version",
    "max_retention_days",
    "default_ttl_days",
    "purge_method",
    "created_by",
    "created_at",
)
HOLD_MEMBERS = ("case_reference", "reason", "selector")
HOLD_COLUMNS = ("name", "version", "state", "case_reference", "selector", "held_since", "created_by")
ACCESS_MEMBERS = ("evaluator", "parameters", "description")
RULES = ("store", "retrieve", "inspect", "purge")
RETENTION_MEMBERS = (
    "max_retention_days", "default_ttl_days", "inactivity_days", "purge_method", "description", "justification", "legal_basis",
    "data_class", "allowed_access_policies", "max_value_bytes", "required_metadata",
)  # fmt: skip
READ_ONLY = frozenset({
    "name", "purpose", "version", "require_purge_proof", "built_in", "dropped", "created_by", "created_at", "effect",
    "warnings",
})  # fmt: skip
"""Members of a printed policy that a new version does not take: ``get --json`` prints what ``set --file`` reads."""


def access_get(vault: Vault, options: argparse.Namespace) -> None:
    """Print an access policy."""
    _print(vault.policies.access.get(options.name), options)


def access_set(vault: Vault, options: argparse.Namespace) -> None:
    """Create or replace an access policy, from a JSON document as the HTTP API takes it."""
    document = _document(options.file, options.name, ("rules", *ACCESS_MEMBERS))
    rules = document.pop("rules", {})
    if not isinstance(rules, dict):
        raise WrongArgument(f"--file: rules: expected an object with {', '.join(RULES)}")
    _require(rules, RULES, "rules.")
    for name, rule in rules.items():
        if not isinstance(rule, dict):
            raise WrongArgument(f"--file: rules.{name}: expected an object")
    _print(vault.policies.access.put(options.name, **rules, **document, if_match=options.if_match), options)


def access_ls(vault: Vault, options: argparse.Namespace) -> None:
    """List the access policies."""
    print_rows(ACCESS_COLUMNS, vault.policies.access.list(), as_json=options.json)


def access_rm(vault: Vault, options: argparse.Namespace) -> None:
    """Delete an access policy."""
    _print(vault.policies.access.delete(options.name, if_match=options.if_match), options)


def access_explain(vault: Vault, options: argparse.Namespace) -> None:
    """Print what a request would be answered."""
    purpose, external_id = place_of(options.entry)
    found = vault.policies.access.explain(
        options.app,
        options.operation,
        purpose,
        external_id,
        identity=options.identity,
        purposes=options.purpose,
        roles=options.role,
        access_policy=options.policy,
    )
    if not options.purpose and found.reason == "purpose-not-held" and not options.quiet:
        print("vsql-vault: no --purpose was given: the app is assumed to have none", file=sys.stderr)
    if options.json:
        print_json(found.document)
    else:
        print_members(
            {"decision": found.decision, "policy": found.policy, "version": found.version, "reason": found.reason}
            | _shown_answer(found.document.get("answer"))
        )


def _shown_answer(answer: Any) -> dict[str, str]:
    """Return the answer that the request would get as one text: its status, and slug and title of a problem."""
    if not isinstance(answer, dict):
        return {}
    words = [str(answer[name]) for name in ("status", "slug", "title") if answer.get(name)]
    return {"answer": ": ".join(words)}


def retention_get(vault: Vault, options: argparse.Namespace) -> None:
    """Print the retention policy of a purpose."""
    _print(vault.policies.retention.get(options.purpose), options)


def retention_set(vault: Vault, options: argparse.Namespace) -> None:
    """Create or change a retention policy: options change single members, a JSON document or ``--replace`` all of them.

    A policy that another admin creates or changes in the meantime is not replaced: the command fails with status 412.
    """
    given = {name: value for name in RETENTION_MEMBERS if (value := getattr(options, name)) is not None}
    old, keeps = None, options.file is None and not options.replace
    if options.file is not None:
        if given:
            raise WrongArgument(f"--file: cannot be combined with an option for {next(iter(given))}")
        given = _document(options.file, options.purpose, RETENTION_MEMBERS)
    elif not given:
        raise WrongArgument("expected an option of the policy, such as --max-days, or --file")
    elif keeps:
        old = _retention_in_force(vault, options.purpose)
    kept = _kept(old, given)
    if "max_retention_days" not in kept | given:
        raise WrongArgument("expected --max-days, or --file with max_retention_days")
    if kept and not options.quiet:
        print(f"vsql-vault: kept from version {old.version if old else 0}: {', '.join(kept)}", file=sys.stderr)
    saved = vault.policies.retention.put(
        options.purpose,
        **kept | given,
        dry_run=options.dry_run,
        if_match=options.if_match or (old.etag if old else None),
        create_only=keeps and not old and not options.if_match,
    )
    _print(saved, options)


def _retention_in_force(vault: Vault, purpose: str) -> RetentionPolicy | None:
    try:
        return vault.policies.retention.get(purpose)
    except PolicyNotFound:
        return None


def _kept(old: RetentionPolicy | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the members of the policy in force that no option gives, those that are set."""
    members = {name: getattr(old, name) for name in RETENTION_MEMBERS if name not in given} if old else {}
    return {name: value for name, value in members.items() if value not in (None, ())}


def retention_ls(vault: Vault, options: argparse.Namespace) -> None:
    """List the retention policies."""
    print_rows(RETENTION_COLUMNS, vault.policies.retention.list(), as_json=options.json)


def hold_set(vault: Vault, options: argparse.Namespace) -> None:
    """Place a legal hold, or replace it; print which members of the version before were replaced."""
    hold = vault.holds.put(
        options.name,
        case_reference=options.case,
        reason=options.reason,
        purpose=options.purpose,
        external_id=options.id,
        owner_app=options.owner_app,
        metadata=metadata_of(options.metadata),
        if_match=options.if_match,
        create_only=options.create,
    )
    _print(hold, options)
    if hold.version > 1 and not options.quiet:
        _print_replaced(vault, hold)


def _print_replaced(vault: Vault, hold: Hold) -> None:
    for old in vault.holds.versions(hold.name):
        if old.version == hold.version - 1:
            replaced = [name for name in HOLD_MEMBERS if getattr(old, name) != getattr(hold, name)]
            print(
                f"vsql-vault: changed since version {old.version}: {', '.join(replaced) or 'nothing'}", file=sys.stderr
            )
            return


def hold_get(vault: Vault, options: argparse.Namespace) -> None:
    """Print a legal hold."""
    _print(vault.holds.get(options.name), options)


def hold_ls(vault: Vault, options: argparse.Namespace) -> None:
    """List the legal holds."""
    print_rows(HOLD_COLUMNS, vault.holds.list(state=options.state), as_json=options.json)


def hold_rm(vault: Vault, options: argparse.Namespace) -> None:
    """Release a legal hold."""
    _print(vault.holds.release(options.name, if_match=options.if_match), options)


def review_access(vault: Vault, options: argparse.Namespace) -> None:
    """Record a review of access, and print the signed document."""
    require_writable("--out", options.out)
    shown = vault.review_access(
        options.statement,
        purpose=options.purpose,
        interval_days=options.interval_days,
        may_sha256=options.may_sha256,
    )
    if options.out is not None:
        write_document("--out", options.out, shown)
    if options.json:
        print_json(shown)
    elif not options.quiet:
        made = shown["access_review"]
        print_members(
            {name: made[name] for name in ("number", "at", "purpose", "due_at")} | {"sha256": shown["sha256"]}
        )


def _print(found: Any, options: argparse.Namespace) -> None:
    for warning in getattr(found, "warnings", ()):
        print(f"vsql-vault: warning: {warning}", file=sys.stderr)
    if options.json:
        print_json(found)
    elif not options.quiet:
        print_members({name: member for name, member in document_of(found).items() if name != "warnings"})


def _document(file: str, name: str, members: tuple[str, ...]) -> dict[str, Any]:
    """Return the members of the policy in a file, which may be one that ``get --json`` printed. Raises WrongArgument."""
    document = read_document(file)
    for place in ("name", "purpose"):
        if document.get(place, name) != name:
            raise WrongArgument(f"--file: {place}: expected {name}, as the argument")
    document = {member: value for member, value in document.items() if member not in READ_ONLY}
    _require(document, members)
    return document


def _require(document: dict[str, Any], known: tuple[str, ...], place: str = "") -> None:
    if unknown := sorted(set(document) - set(known)):
        near = did_you_mean(unknown[0], known)
        raise WrongArgument(f"--file: {place + unknown[0]!a}: expected one of {', '.join(known)}{near}")
