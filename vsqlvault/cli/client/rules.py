"""``policy`` and ``hold``."""

from __future__ import annotations

import argparse
from typing import Any

from vsqlvault.cli.client.values import metadata_of, place_of, read_document
from vsqlvault.cli.output import print_json, print_members, print_rows
from vsqlvault.cli.output_files import require_writable, write_document
from vsqlvault.client import Vault
from vsqlvault.client.errors import Unusable

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
HOLD_COLUMNS = ("name", "version", "state", "case_reference", "selector", "held_since", "created_by")
ACCESS_MEMBERS = ("evaluator", "parameters", "description")
RULES = ("store", "retrieve", "inspect", "purge")
RETENTION_MEMBERS = (
    "max_retention_days", "default_ttl_days", "purge_method", "description", "justification", "legal_basis", "data_class",
)  # fmt: skip


def access_get(vault: Vault, options: argparse.Namespace) -> None:
    """Print an access policy."""
    _print(vault.policies.access.get(options.name), options)


def access_set(vault: Vault, options: argparse.Namespace) -> None:
    """Put an access policy in force, from a JSON document as the HTTP API takes it."""
    document = read_document(options.file)
    rules = document.pop("rules", {})
    _require(document, ACCESS_MEMBERS, "rules")
    if (
        not isinstance(rules, dict)
        or set(rules) - set(RULES)
        or not all(isinstance(rule, dict) for rule in rules.values())
    ):
        raise Unusable(f"--file: rules: expected an object with {', '.join(RULES)}")
    _print(vault.policies.access.put(options.name, **rules, **document, if_match=options.if_match), options)


def access_ls(vault: Vault, options: argparse.Namespace) -> None:
    """List the access policies."""
    print_rows(ACCESS_COLUMNS, vault.policies.access.list(), as_json=options.json)


def access_rm(vault: Vault, options: argparse.Namespace) -> None:
    """Take an access policy out of force."""
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
    """Put a retention policy in force, from options or from a JSON document as the HTTP API takes it."""
    if options.file is not None:
        document = read_document(options.file)
        document.pop("require_purge_proof", None)
        _require(document, RETENTION_MEMBERS)
    else:
        document = {name: value for name in RETENTION_MEMBERS if (value := getattr(options, name)) is not None}
    if "max_retention_days" not in document:
        raise Unusable("expected --max-days, or --file with max_retention_days")
    put = vault.policies.retention.put
    _print(put(options.purpose, **document, dry_run=options.dry_run, if_match=options.if_match), options)


def retention_ls(vault: Vault, options: argparse.Namespace) -> None:
    """List the retention policies."""
    print_rows(RETENTION_COLUMNS, vault.policies.retention.list(), as_json=options.json)


def hold_set(vault: Vault, options: argparse.Namespace) -> None:
    """Place a legal hold."""
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
    if options.json:
        print_json(found)
    elif not options.quiet:
        print_members(found)


def _require(document: dict[str, Any], known: tuple[str, ...], *more: str) -> None:
    if unknown := sorted(set(document) - set(known)):
        raise Unusable(f"--file: {unknown[0]!a}: expected one of {', '.join((*more, *known))}")
