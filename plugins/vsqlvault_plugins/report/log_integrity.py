"""What guards the logs against changes, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault_plugins.report.shape import Finding, shown


class LogIntegrity:
    """The tree that both logs are leaves of, and its newest checkpoint (PCI DSS 4.0.1, 10.3.2, 10.3.4)."""

    name = "log_integrity"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Size and signed head; an exception where rows are there and nobody has signed. Verifying is somebody else's to do."""
        tree = context.log_tree
        checkpoint = tree.checkpoint if tree else None
        size = tree.size if tree else 0
        exceptions = [{"what": "no checkpoint is signed: a rewritten log would look like this one", "leaves": size}]
        return Finding(
            title="Log integrity",
            requirements=("10.3.2", "10.3.4"),
            supports="A row of either log that is changed, dropped or moved is found by whoever keeps a signed checkpoint.",
            method=(
                "The number of rows that are leaves of the tree, and the newest signed checkpoint, as they are stored. The "
                "tree is not computed again here: vsql-vault verify does that, with no trust in the vault."
            ),
            measured="now",
            population=size,
            exceptions=exceptions if size and checkpoint is None else [],
            owner="whoever runs vsql-vault verify, and keeps its result",
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
