"""Adds the purposes without a legal basis to the compliance report."""

from collections.abc import Mapping
from typing import Any

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.report_section import ReportContext, ReportSection


class ExampleSection(ReportSection):
    """Writes the member ``example``."""

    name = "example"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Return the member: JSON types only."""
        policies = context.retention_policies
        return {"without_legal_basis": sorted(name for name in policies if not policies[name].legal_basis)}


@hookimpl
def vault_report_sections() -> list[ReportSection]:
    """Offer the section."""
    return [ExampleSection()]
