"""The three purge methods that were asked for."""

from __future__ import annotations

from vsqlvault.config import Settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.purge_method import PurgeMethod, PurgeRequest
from vsqlvault.model.purge import Overwrite, PurgePlan, PurgeReason, Remove
from vsqlvault.model.sandbox import ProcessNeeds


class PhysicalDelete:
    """The row goes; afterwards the id is as if it had never been."""

    name = "physical-delete"
    retires_id = False

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Remove the row."""
        return PurgePlan(Remove(), request.reason)


class CryptoShred:
    """The value is overwritten with zeros where it stands; the row stays as a mark, and the id is retired."""

    name = "crypto-shred"
    retires_id = True

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Overwrite with as many zeros."""
        return PurgePlan(Overwrite(bytes(request.entry.value_size)), request.reason)


class RetentionExpire:
    """As physical-delete; what ends by its time is put on record as ended by the retention policy."""

    name = "retention-expire"
    retires_id = False

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Remove the row, and name the retention policy where it is the reason."""
        expired = request.reason is PurgeReason.EXPIRED
        return PurgePlan(Remove(), PurgeReason.RETENTION_POLICY if expired else request.reason)


@hookimpl
def vault_process_needs() -> list[ProcessNeeds]:
    """Say that the three need nothing of their own."""
    return []


@hookimpl
def vault_purge_methods(settings: Settings) -> list[PurgeMethod]:  # noqa: ARG001 - the hook's signature
    """Offer the three."""
    return [PhysicalDelete(), CryptoShred(), RetentionExpire()]
