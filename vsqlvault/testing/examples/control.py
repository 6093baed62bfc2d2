"""Checks that the disk has room."""

import asyncio
import shutil
from datetime import datetime

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.model.control import Check, ControlState

ENOUGH_BYTES = 1024**3


class ExampleControl(VaultControl):
    """Fails while the disk has less than 1 GiB free."""

    name = "example"
    requirements = ("10.7.2",)

    async def check(self, now: datetime) -> Check:
        """Measure the disk, beside the event loop."""
        free = (await asyncio.to_thread(shutil.disk_usage, "/")).free
        state = ControlState.OK if free >= ENOUGH_BYTES else ControlState.FAILING
        return Check(
            state, "the disk has 1 GiB free" if state is ControlState.OK else "the disk has less than 1 GiB free"
        )


@hookimpl
def vault_controls() -> list[VaultControl]:
    """Offer the control."""
    return [ExampleControl()]
