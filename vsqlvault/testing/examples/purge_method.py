"""Overwrites values with ``0``, and destroys copies outside the vault."""

import logging
from collections.abc import Sequence

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.purge_method import PurgeMethod, PurgeRequest
from vsqlvault.model.purge import Overwrite, PurgePlan, PurgeRecord


class ExampleMethod(PurgeMethod):
    """A retention policy names it: ``"purge_method": "example"``."""

    name = "example"
    retires_id = True

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Keep the row, and overwrite the value."""
        return PurgePlan(Overwrite(b"0" * request.entry.value_size), request.reason)

    async def purged(self, records: Sequence[PurgeRecord]) -> None:
        """Destroy the copies. It may be called again with the same records."""
        logging.getLogger(__name__).info("destroyed", extra={"entries": [record.entry_id for record in records]})


@hookimpl
def vault_purge_methods() -> list[PurgeMethod]:
    """Offer the method."""
    return [ExampleMethod()]
