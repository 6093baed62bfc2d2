"""The protection of the logs against changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.interfaces.report_section import LogTree, ReportContext
from vsqlvault.model.verification import RecordedVerification
from vsqlvault_plugins.report.shape import Finding, shown

NOBODY = "the person who runs vsql-vault verify: the vault has not verified its log yet"
ALLOWED_AGE = timedelta(days=1)


class LogIntegrity:
    """The tree over both logs, its newest checkpoint and its last verification (PCI DSS 4.0.1, 10.3.2, 10.3.4)."""

    name = "log_integrity"

    def __init__(self, verify_interval_hours: float = 24) -> None:
        """A verification that is older than the interval is an exception. 0: only one that is older than a day."""
        self._interval = timedelta(hours=verify_interval_hours) or ALLOWED_AGE

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Size, signed head, and the last verification. Exceptions: no checkpoint, findings, and a late verification."""
        tree = context.log_tree
        checkpoint = tree.checkpoint if tree else None
        size = tree.size if tree else 0
        last = context.log_verification
        return Finding(
            title="Log integrity",
            requirements=("10.3.2", "10.3.4"),
            supports=(
                "The vault verifies both logs and the tables beside them, and a difference makes a control fail. Anyone "
                "with a signed checkpoint can detect a changed, missing or moved row independently of the vault."
            ),
            method=(
                "The number of rows in the tree, and the newest signed checkpoint, as they are stored. The last "
                "verification in the background, which computes each leaf from its row, compares the tree with every "
                "checkpoint, and the tables and values with what the leaves say. The vault does this itself, with the "
                "verifier key of its settings: vsql-vault verify --vkey KEY does the same independently."
            ),
            check=(
                "vsql-vault verify repeats the verification, vsql-vault export-audit writes the log to verify it elsewhere."
            ),
            measured="now",
            population=size,
            exceptions=[*_unsigned(size, tree), *self._verification(last, context.as_of)],
            owner=None if last is not None else NOBODY,
            figures={
                "leaves": size,
                "checkpoint_origin": checkpoint.origin if checkpoint else None,
                "checkpoint_size": checkpoint.size if checkpoint else None,
                "checkpoint_root_hash": checkpoint.root.hex() if checkpoint else None,
                "checkpoint_signed_at": shown(checkpoint.signed_at) if checkpoint else None,
                "leaves_not_under_a_checkpoint": size - checkpoint.size if checkpoint else size,
                "last_verification": _figures(last),
            },
        ).member(context.period)

    def _verification(self, last: RecordedVerification | None, as_of: datetime) -> list[dict[str, Any]]:
        if last is None:
            return []
        found = [{"what": f"the last verification found: {each}", "leaves": last.leaves} for each in last.listed]
        if as_of - last.finished_at > self._interval:
            found.append({"what": f"the last verification ended at {shown(last.finished_at)}", "leaves": last.leaves})
        return found


def _unsigned(size: int, tree: LogTree | None) -> list[dict[str, Any]]:
    if not size or (tree and tree.checkpoint):
        return []
    return [{"what": "no checkpoint is signed: a rewritten log could not be detected", "leaves": size}]


def _figures(last: RecordedVerification | None) -> dict[str, Any] | None:
    if last is None:
        return None
    return {
        "started_at": shown(last.started_at),
        "finished_at": shown(last.finished_at),
        "leaves": last.leaves,
        "checkpoints": last.checkpoints,
        "rows_not_covered": last.waiting,
        "entries": last.entries,
        "values": last.values,
        "findings": last.findings,
    }
