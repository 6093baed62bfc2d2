"""The protection of the logs against changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault_plugins.report.shape import Finding, shown


class LogIntegrity:
    """The tree over both logs, and its newest checkpoint (PCI DSS 4.0.1, 10.3.2, 10.3.4)."""

    name = "log_integrity"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Size and signed head. Rows without a checkpoint are an exception. The vault cannot verify itself."""
        tree = context.log_tree
        checkpoint = tree.checkpoint if tree else None
        size = tree.size if tree else 0
        exceptions = [{"what": "no checkpoint is signed: a rewritten log could not be detected", "leaves": size}]
        return Finding(
            title="Log integrity",
            requirements=("10.3.2", "10.3.4"),
            supports="Anyone with a signed checkpoint can detect a changed, missing or moved row of either log.",
            method=(
                "The number of rows in the tree, and the newest signed checkpoint, as they are stored. The tree is "
                "not computed again here. vsql-vault verify does that independently of the vault."
            ),
            measured="now",
            population=size,
            exceptions=exceptions if size and checkpoint is None else [],
            owner="the person who runs vsql-vault verify and keeps its result",
            figures={
                "leaves": size,
                "checkpoint_origin": checkpoint.origin if checkpoint else None,
                "checkpoint_size": checkpoint.size if checkpoint else None,
                "checkpoint_root_hash": checkpoint.root.hex() if checkpoint else None,
                "checkpoint_signed_at": shown(checkpoint.signed_at) if checkpoint else None,
                "leaves_not_under_a_checkpoint": size - checkpoint.size if checkpoint else size,
                "verified": "not by this report",
            },
        ).member(context.period)
