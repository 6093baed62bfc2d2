"""``put``, ``get``, ``head``, ``ls`` and ``rm``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any

from vsqlvault.cli.client.values import STANDARD, metadata_of, place_of, read_value, write_value
from vsqlvault.cli.output import print_json, print_members, print_rows
from vsqlvault.cli.output_files import require_writable, write_document
from vsqlvault.client import StoredEntry, Vault, errors
from vsqlvault.client.errors import FieldProblem

COLUMNS = (
    "external_id",
    "version",
    "key_ref",
    "access_policy",
    "owner_app",
    "effective_expires_at",
    "value_size",
    "state",
)
RECEIPT_SECONDS = 10


def put(vault: Vault, options: argparse.Namespace) -> None:
    """Store a value."""
    purpose, external_id = place_of(options.entry)
    stored = _naming_ttl(
        options,
        vault.put,
        purpose,
        external_id,
        read_value(options.file),
        key_ref=options.key_ref,
        algorithm_hint=options.algorithm,
        metadata=metadata_of(options.metadata),
        expires_at=options.expires_at,
        ttl=options.ttl,
        access_policy=options.policy,
        if_match=options.if_match,
        create_only=options.create,
    )
    for warning in stored.warnings:
        print(f"vsql-vault: warning: {warning}", file=sys.stderr)
    if options.json:
        print_json(stored)
    elif not options.quiet:
        word = "created" if stored.created else "stored"
        print(f"{word} {options.entry} version {stored.version} etag {stored.etag}")


def _naming_ttl(
    options: argparse.Namespace, call: Callable[..., StoredEntry], *values: Any, **fields: Any
) -> StoredEntry:
    """Call with the arguments. A refused expiry that came from ``--ttl`` is named so."""
    try:
        return call(*values, **fields)
    except errors.Invalid as error:
        if options.ttl is None or error.request_id is None or "expires_at" not in {each.field for each in error.errors}:
            raise
        named = [
            FieldProblem("--ttl" if each.field == "expires_at" else each.field, each.expected) for each in error.errors
        ]
        raise type(error)(
            error.detail,
            errors=named,
            title=error.title,
            status=error.status,
            slug=error.slug,
            request_id=error.request_id,
        ) from None


def get(vault: Vault, options: argparse.Namespace) -> None:
    """Retrieve a value: its bytes and nothing else, or all there is as JSON."""
    place = place_of(options.entry)
    if options.out != STANDARD:
        require_writable("--out", options.out)
    entry = vault.get(*place)
    if options.json:
        print_json(entry)
    else:
        write_value(entry.value, options.out)


def head(vault: Vault, options: argparse.Namespace) -> None:
    """Inspect an entry."""
    found = vault.head(*place_of(options.entry))
    (print_json if options.json else print_members)(found)


def ls(vault: Vault, options: argparse.Namespace) -> None:
    """List the entries of a purpose."""
    found = vault.list(
        options.purpose,
        key_ref=options.key_ref,
        owner_app=options.owner_app,
        access_policy=options.policy,
        expires_before=options.expires_before,
        state=options.state,
    )
    print_rows(COLUMNS, islice(found, options.limit), as_json=options.json)


def rm(vault: Vault, options: argparse.Namespace) -> None:
    """Purge an entry."""
    place = place_of(options.entry)
    require_writable("--receipt", options.receipt)
    seconds = RECEIPT_SECONDS if options.receipt else None
    purge = vault.delete(*place, if_match=options.if_match, wait_seconds=seconds)
    if options.json:
        print_json(purge)
    elif not options.quiet:
        print(f"purged {options.entry} by {purge.method} proof {purge.proof_hash}", flush=True)
    if options.receipt:
        receipt = purge.receipt if purge.receipt is not None else vault.receipt(purge.id)
        write_document("--receipt", options.receipt, receipt, indent=2)
