"""The stored values, by the algorithm that the storing apps name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault_plugins.report.shape import MAX_LISTED, Finding, bars, example

WITHOUT = "(none given)"


class StoredData:
    """Entries by algorithm_hint (PCI DSS 4.0.1, 3.5.1)."""

    name = "stored_data"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Counts by algorithm_hint. Exceptions are purposes with entries without one."""
        counts: dict[str, int] = {}
        missing: dict[str, int] = {}
        for each in context.evidence.holdings:
            number = each.active + each.expired
            counts[each.algorithm_hint or WITHOUT] = counts.get(each.algorithm_hint or WITHOUT, 0) + number
            if each.algorithm_hint is None:
                missing[each.purpose] = missing.get(each.purpose, 0) + number
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return Finding(
            title="Storage without plaintext",
            requirements=("3.5.1", "3.6.1"),
            supports=(
                "The vault stores values that were encrypted elsewhere. It never parses them and has no key to decrypt "
                "them. The storing apps are responsible for the encryption and its strength."
            ),
            method="Entries not purged, by the algorithm_hint that the storing app set. The value is not read.",
            check=(
                f"GET /vault/{example(context.retention_policies, '{purpose}')} lists the entries of a purpose with their "
                "algorithm_hint."
            ),
            measured="as_of",
            population=sum(counts.values()),
            exceptions=[
                {"purpose": purpose, "what": "entries without an algorithm_hint", "count": count}
                for purpose, count in sorted(missing.items())
                if count
            ],
            figures={
                "by_algorithm_hint": dict(ranked[:MAX_LISTED]),
                "algorithm_hints": len(counts),
                "without_algorithm_hint": sum(missing.values()),
            },
            charts=[
                bars(
                    "Entries by algorithm_hint",
                    "entries",
                    ["entries"],
                    [(name, [count]) for name, count in ranked[:10]],
                )
            ],
        ).member(context.period)
