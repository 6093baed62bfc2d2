"""The vault's background tasks, run for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vsqlvault.config import Settings
from vsqlvault.service.tasks import running
from vsqlvault.service.vault import Vault


@asynccontextmanager
async def background(vault: Vault, settings: Settings) -> AsyncIterator[None]:
    """Run the vault's background tasks for the length of the block.

    ``purge.sweep_interval_hours`` 0 leaves out sweeps, and ``compliance.attest_automatically`` false leaves out attestations.
    The destinations of exports are opened first.
    The sequencer ends after the other tasks, so that the log has their rows; the deliveries end last.

    Raises:
        StartUpRefused: a destination of an export cannot be used.
    """
    vault.log.observers.open_sinks()
    tasks = [
        vault.purge.clock_guard.task,
        vault.purge.gauges.task,
        vault.compliance.controls.task,
        vault.log.verifier.task,
        vault.audit.auth_failures.task,
        vault.audit.unaudited.task,
        vault.audit.process_log.task,
        vault.key_usage.task,
        vault.credentials.ledger.task,
    ]
    if settings.purge.sweep_interval_hours:
        tasks.append(vault.purge.sweeper.task)
    if settings.compliance.attest_automatically:
        tasks.append(vault.compliance.attestations.task)
    await vault.credentials.inventory.follow()
    log_tasks = vault.log.sequencer.task, vault.log.quarantine.task
    async with (
        running(*vault.log.observers.tasks),
        running(vault.credentials.inventory.task, *log_tasks),
        running(*tasks),
    ):
        yield
