"""Attestations of retention: the latest ones, their findings, and when the next is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.times import format_time
from vsqlvault.proof.attestation import digest_of
from vsqlvault_plugins.report.shape import NOT_VERIFIED, Finding, shown

GRACE = timedelta(days=2)
OWNER = "the person who verifies deletion every quarter"


class Attestations:
    """The attestations up to the report's time (PCI DSS 4.0.1, 3.2.1)."""

    name = "attestations"

    def __init__(self, interval_days: int) -> None:
        self._interval = timedelta(days=interval_days)

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The newest attestations. Exceptions: forged, with findings, unsigned, late or overdue attestations."""
        made = sorted(context.attestations, key=lambda each: each.number, reverse=True)
        faults = context.attestation_faults
        verified = [each for each in made if each.number not in faults]
        newest = verified[0] if verified else None
        due_at = self._due_at(newest, context)
        exceptions: list[dict[str, Any]] = [
            {"what": f"attestation {each.number} does not count: {faults[each.number]}", "at": format_time(each.at)}
            for each in made
            if each.number in faults
        ]
        if newest is not None and not newest.is_clean:
            exceptions.append({"what": f"attestation {newest.number} has exceptions", "at": format_time(newest.at)})
        if newest is not None and newest.note is None:
            exceptions.append({"what": f"attestation {newest.number} is not signed", "at": format_time(newest.at)})
        exceptions += self._late(verified, context)
        if due_at is not None and due_at <= context.as_of:
            exceptions.append({"what": "the next attestation is overdue", "at": format_time(due_at)})
        return Finding(
            title="Attestation of retention",
            requirements=("3.2.1",),
            supports=(
                "Every purpose is checked for overdue entries, and a sample of purges that nobody can choose is "
                "verified, at least within this interval. The result is signed and stored."
            ),
            method=(
                "Attestations as they are stored, newest first. One is late if it was made more than the interval and two days "
                "after the one before. GET /admin/attestations/{number} returns each with "
                "its signature. vsql-vault verify verifies it."
            ),
            check=f"GET /admin/attestations/{newest.number if newest else '{number}'} has one, vsql-vault verify verifies it.",
            measured="as_of",
            population=len(made),
            exceptions=exceptions,
            owner=OWNER if not made else None if context.signatures_verified else NOT_VERIFIED,
            figures={
                "interval_days": self._interval.days,
                "last_at": shown(newest.at if newest else None),
                "last_result": _result(newest) if newest else None,
                "due_at": shown(due_at),
                "listed": [
                    {
                        "number": each.number,
                        "at": format_time(each.at),
                        "result": _result(each),
                        "signed": each.note is not None,
                        "sha256": digest_of(each.document),
                    }
                    for each in made
                ],
            },
        ).member(context.period)

    def _late(self, made: Sequence[Attestation], context: ReportContext) -> list[dict[str, Any]]:
        """Return the attestations of the period that followed the one before too late. Three months are up to 92 days."""
        since = context.period.since if context.period else context.as_of
        return [
            {"what": f"attestation {each.number} was late", "at": format_time(each.at)}
            for each, before in pairwise(made)
            if self._interval and each.at >= since and each.at - before.at > self._interval + GRACE
        ]

    def _due_at(self, newest: Attestation | None, context: ReportContext) -> datetime | None:
        begun_at = newest.at if newest else context.evidence.oldest_access_at
        return begun_at + self._interval if self._interval and begun_at else None


def _result(attestation: Attestation) -> str:
    return "clean" if attestation.is_clean else "exceptions"
