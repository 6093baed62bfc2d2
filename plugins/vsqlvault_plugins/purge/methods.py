"""The three built-in purge methods."""

from __future__ import annotations

from vsqlvault.config import Settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.purge_method import PurgeMethod, PurgeRequest
from vsqlvault.model.purge import Overwrite, PurgePlan, PurgeReason, Remove
from vsqlvault.model.sandbox import ProcessNeeds


class PhysicalDelete(PurgeMethod):
    """Deletes the row. The id can be used again."""

    name = "physical-delete"
    retires_id = False

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Return a plan that deletes the row."""
        return PurgePlan(Remove(), request.reason)


class CryptoShred(PurgeMethod):
    """Overwrites the value with zeros in place. The row stays as a marker, and the id is retired."""

    name = "crypto-shred"
    retires_id = True

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Return a plan that overwrites the value with zeros of the same length."""
        return PurgePlan(Overwrite(bytes(request.entry.value_size)), request.reason)


class RetentionExpire(PurgeMethod):
    """Deletes the row like physical-delete, and records the retention policy as the reason for expired entries."""

    name = "retention-expire"
    retires_id = False

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Return a plan that deletes the row, and names the retention policy if it is the reason."""
        expired = request.reason is PurgeReason.EXPIRED
        return PurgePlan(Remove(), PurgeReason.RETENTION_POLICY if expired else request.reason)


@hookimpl
def vault_process_needs() -> list[ProcessNeeds]:
    """Declare that the plugin needs no files or ports."""
    return []


@hookimpl
def vault_purge_methods(settings: Settings) -> list[PurgeMethod]:  # noqa: ARG001 - the hook's signature
    """Return the three methods."""
    return [PhysicalDelete(), CryptoShred(), RetentionExpire()]
