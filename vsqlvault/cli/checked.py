"""What a verification has found: for people in sentences, for programs as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from vsqlvault.cli.output import print_json
from vsqlvault.quick_dataclass import dataclass

FAILED = 1


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check. ``kind`` is ``log``, ``evidence``, ``receipt``, ``attestation`` or ``access review``."""

    kind: str
    verifies: bool
    lines: Sequence[str]
    document: Mapping[str, Any] = field(default_factory=dict)

    def show(self, *, as_json: bool) -> int:
        """Print it, and return the exit code: 0 if it verifies, else 1."""
        if as_json:
            print_json({"kind": self.kind, "verifies": self.verifies, **self.document})
        else:
            print("\n".join(self.lines))
        return 0 if self.verifies else FAILED


def is_report(document: Mapping[str, Any]) -> bool:
    """Whether a document is a compliance report. Its sections can have the name of a signed document, which has a note."""
    return "note" not in document and {"as_of", "period", "requirements"} <= set(document)
