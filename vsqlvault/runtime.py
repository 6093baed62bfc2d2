"""The composition root: settings and plugins go in, a running vault comes out."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from vsqlvault.config import Settings, load_settings
from vsqlvault.errors import PluginUnusable, SettingsInvalid
from vsqlvault.hardening.lockdown import NOT_APPLIED, Lockdown, import_early, lock_down
from vsqlvault.hardening.reach import asked_of
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.storage import MigrationStatus, Storage
from vsqlvault.interfaces.stored_keys import NoStoredKeys
from vsqlvault.model.hardening import StepState
from vsqlvault.model.policy import AccessPolicy
from vsqlvault.plugin_manager import Plugins
from vsqlvault.service.api_keys import ApiKeys
from vsqlvault.service.attestations import Attestations
from vsqlvault.service.audit import Auditor
from vsqlvault.service.beginning import Beginning
from vsqlvault.service.clock import StorageClock
from vsqlvault.service.clock_watch import ClockWatch
from vsqlvault.service.commit_queue import CommitQueue
from vsqlvault.service.control_checks import ControlChecks
from vsqlvault.service.controls import Controls
from vsqlvault.service.credentials import Credentials
from vsqlvault.service.decisions import Decisions
from vsqlvault.service.entries import Entries
from vsqlvault.service.evidence import Evidence
from vsqlvault.service.explain import Explain
from vsqlvault.service.failing_sources import FailingSources
from vsqlvault.service.gaps import Gaps
from vsqlvault.service.held_entries import HeldEntries
from vsqlvault.service.history import History
from vsqlvault.service.holds import Holds
from vsqlvault.service.key_refs import KeyRefs
from vsqlvault.service.key_ring import KeyRing
from vsqlvault.service.logs import Logs
from vsqlvault.service.policies import Policies
from vsqlvault.service.purge_gauges import PurgeGauges
from vsqlvault.service.purges import Purges
from vsqlvault.service.quarantine import Quarantine
from vsqlvault.service.refusals import Refusals
from vsqlvault.service.reloading import Reloading
from vsqlvault.service.replay import Replay
from vsqlvault.service.report import Report
from vsqlvault.service.restore import Restore
from vsqlvault.service.rulebooks import Rulebooks
from vsqlvault.service.scrubber import Scrubber
from vsqlvault.service.sequencer import Sequencer, Signing
from vsqlvault.service.signing_keys import load_signing
from vsqlvault.service.sweeper import Sweeper
from vsqlvault.service.transparency import Transparency
from vsqlvault.service.vault import Vault

log = logging.getLogger(__name__)
Record = TypeVar("Record")
SWEEP_ENDS_SECONDS = 10.0
SEQUENCER_ENDS_SECONDS = 5.0
WATCH_ENDS_SECONDS = 5.0


@asynccontextmanager
async def open_vault(
    settings: Settings, *, plugins: Plugins | None = None, hardening: Sequence[StepState] = NOT_APPLIED
) -> AsyncIterator[Vault]:
    """Run a vault for the length of the block: storage open, schema up to date, plugins started. Nothing sweeps by itself.

    ``plugins`` are those of the settings, where somebody has loaded them already; ``hardening`` is how far ``harden`` has come.

    Raises:
        StartUpRefused: settings, plugins or storage are not usable.
        StorageUnavailable: the storage cannot be reached.
    """
    plugins = plugins or Plugins(settings)
    signing = load_signing(settings.audit)
    async with AsyncExitStack() as stack:
        storage = await open_storage(plugins)
        stack.push_async_callback(storage.close)
        status = await storage.migrate()
        if status.before != status.after:
            log.info("schema migrated", extra={"from": status.before, "to": status.after})
        vault = _assemble(plugins, storage, hardening, signing)
        await vault.sequencer.check_key()
        stack.push_async_callback(_stop_plugins, plugins)
        await plugins.start(storage.describe())
        await vault.quarantine.begin()
        stack.push_async_callback(_settle, vault)
        yield vault


def harden(plugins: Plugins, config: Path | None) -> Lockdown:
    """Lock this process in, for good, as far as the settings ask and the system allows; return what became of each step.

    It comes after everything is imported and before the storage is opened or a thread is started. ``config`` is the file
    that the settings are read from again.

    Raises:
        HardeningUnavailable: a step that the settings require is not to be had.
        SettingsInvalid, PluginUnusable: what is to stay reachable cannot be told.
    """
    needs, undeclared = plugins.process_needs(plugins.settings)
    import_early()
    return lock_down(plugins.settings, asked_of(plugins.settings, needs, config), undeclared=undeclared)


def check_reach(plugins: Plugins, lockdown: Lockdown, settings: Settings) -> None:
    """Refuse new settings that need what this process has closed to itself.

    Raises:
        SettingsInvalid, PluginUnusable.
    """
    checked = plugins.check(settings)
    lockdown.check(asked_of(checked, plugins.process_needs(checked)[0]))


@asynccontextmanager
async def sweeping(vault: Vault, interval_hours: float) -> AsyncIterator[None]:
    """Sweep on a timer for the length of the block (0 hours: never), watch the clock, and measure what is due."""
    work = [vault.clock_watch.run(), vault.purge_gauges.run()]
    if interval_hours:
        work.append(vault.sweeper.run_on_timer(interval_hours))
    async with _beside(work, [vault.clock_watch, vault.purge_gauges, vault.sweeper], SWEEP_ENDS_SECONDS):
        yield


@asynccontextmanager
async def following(vault: Vault) -> AsyncIterator[None]:
    """Keep rules and keys in step with the storage for the length of the block, also while nobody asks for anything."""
    await vault.credentials.follow()
    task = asyncio.create_task(vault.credentials.run())
    try:
        yield
    finally:
        vault.credentials.stop()
        await task


@asynccontextmanager
async def watching(vault: Vault, *, attest: bool = False) -> AsyncIterator[None]:
    """Watch over the controls for the length of the block; ``attest``: and attest retention when it is time."""
    work = [vault.controls.run()]
    if attest:
        work.append(vault.attestations.run())
    async with _beside(work, [vault.controls, vault.attestations], WATCH_ENDS_SECONDS):
        yield


@asynccontextmanager
async def sequencing(vault: Vault) -> AsyncIterator[None]:
    """Let the transparency log grow for the length of the block, by this process or by another one on the same storage."""
    async with _beside([vault.sequencer.run()], [vault.sequencer], SEQUENCER_ENDS_SECONDS):
        yield


class _Stoppable(Protocol):
    def stop(self) -> None: ...


@asynccontextmanager
async def _beside(
    work: Iterable[Coroutine[Any, Any, None]], stopped: Iterable[_Stoppable], ends_within: float
) -> AsyncIterator[None]:
    """Let ``work`` run beside the block; then stop it, and cancel what has not ended in so many seconds."""
    tasks = {asyncio.create_task(each) for each in work}
    try:
        yield
    finally:
        for each in stopped:
            each.stop()
        await asyncio.wait(tasks, timeout=ends_within)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def open_storage(plugins: Plugins) -> Storage:
    """Open the storage whose plugin claims the scheme of ``storage.database_url``; the schema is left as it is.

    Raises:
        SettingsInvalid: nobody claims it. StorageUnavailable, UnsafeStorage: as the plugin says.
    """
    url = plugins.settings.storage.database_url
    scheme = url.partition(":")[0]
    factories = plugins.offers("vault_storages", "URL scheme", lambda factory: factory.schemes)
    if scheme not in factories:
        known = ", ".join(f"{name}:" for name in sorted(factories)) or "none (is the plugin installed?)"
        raise SettingsInvalid(f"storage.database_url: expected a URL with one of the schemes {known}, found {scheme}:")
    storage: Storage = await factories[scheme].open(url)
    return storage


async def migrated(plugins: Plugins) -> MigrationStatus:
    """Bring the storage of the settings to the newest schema. Raises as ``open_storage``."""
    storage = await open_storage(plugins)
    try:
        return await storage.migrate()
    finally:
        await storage.close()


def _assemble(plugins: Plugins, storage: Storage, hardening: Sequence[StepState], signing: Signing) -> Vault:
    """Put the parts together. Nothing is decided here but what is made of what."""
    settings = plugins.settings
    clock = StorageClock()
    evaluators = plugins.offers("vault_access_policies", "policy evaluator")
    rulebooks = Rulebooks(storage, _built_in_policies(evaluators))
    queue = _queue(plugins, storage, clock, rulebooks)
    timeout = settings.access.plugin_timeout_seconds
    decisions = Decisions(evaluators, timeout)
    purges = Purges(plugins.offers("vault_purge_methods", "purge method"), timeout)
    ring = KeyRing(rulebooks, queue.read, clock)
    auditor = Auditor(queue, clock, ring.vouch)
    authenticators = _authenticators(plugins, ring)
    credentials = Credentials(storage, clock, authenticators, queue.read)
    watch = ClockWatch(storage, queue)
    anchors = list(plugins.offers("vault_anchors", "anchor").values())
    beginning = Beginning(storage, settings.compliance.attestation_interval_days)
    quarantine = Quarantine(storage, anchors, signing.current.verifier.name if signing.current else None)
    sequencer = _sequencer(plugins, storage, queue, clock, signing, quarantine)
    parts = _Parts(settings, storage, queue, auditor, rulebooks, decisions, credentials, watch)
    report = _report(parts, plugins, hardening)
    scrubber = _scrubber(parts)
    shared: dict[str, Any] = {"queue": queue, "auditor": auditor}
    ruled: dict[str, Any] = {**shared, "storage": storage, "rulebooks": rulebooks}
    return Vault(
        entries=_entries(parts, purges),
        policies=Policies(decisions=decisions, purges=purges, **ruled),
        api_keys=ApiKeys(rulebooks=rulebooks, credentials=credentials, are_taken=settings.auth.stored_keys, **shared),
        credentials=credentials,
        holds=Holds(rulebooks=rulebooks, **shared),
        held_entries=HeldEntries(watch=watch, **ruled),
        history=History(**ruled),
        replay=Replay(decisions=decisions, **ruled),
        explain=Explain(decisions=decisions, purges=purges, **ruled),
        logs=Logs(storage=storage, **shared),
        key_refs=KeyRefs(**ruled),
        sweeper=_sweeper(parts, purges, scrubber),
        sequencer=sequencer,
        quarantine=quarantine,
        restore=Restore(rulebooks=rulebooks, purges=purges, quarantine=quarantine, **shared),
        transparency=Transparency(storage=storage, verifier=sequencer.verifier, **shared),
        report=report,
        evidence=_evidence(parts, plugins, report, signing),
        refusals=Refusals(queue, clock),
        failing_sources=FailingSources(settings.auth.max_failures_per_minute),
        auditor=auditor,
        gaps=Gaps(queue, clock),
        queue=queue,
        clock=clock,
        clock_watch=watch,
        scrubber=scrubber,
        purge_gauges=PurgeGauges(storage, queue, rulebooks, watch),
        controls=_controls(parts, beginning, quarantine, anchors, authenticators, sequencer),
        attestations=_attestations(parts, beginning, signing),
        storage=storage,
        authenticators=authenticators,
        reloading=Reloading(authenticators, settings, plugins.check),
        plugins=plugins.origins,
        hardening=hardening,
    )


def _authenticators(plugins: Plugins, ring: KeyRing) -> list[Authenticator]:
    stored_keys = ring if plugins.settings.auth.stored_keys else NoStoredKeys()
    return list(plugins.offers("vault_authenticators", "authenticator", stored_keys=stored_keys).values())


def _queue(plugins: Plugins, storage: Storage, clock: StorageClock, rulebooks: Rulebooks) -> CommitQueue:
    return CommitQueue(
        storage,
        clock,
        max_batch=plugins.settings.storage.max_batch,
        max_waiting=plugins.settings.storage.max_waiting_requests,
        observers=[_guarded(function) for function in plugins.observers("vault_access_decided")],
        purge_observers=[_guarded(function) for function in plugins.observers("vault_entry_purged")],
        follow=rulebooks.at,
    )


def _sequencer(
    plugins: Plugins,
    storage: Storage,
    queue: CommitQueue,
    clock: StorageClock,
    signing: Signing,
    quarantine: Quarantine,
) -> Sequencer:
    return Sequencer(
        storage=storage,
        queue=queue,
        clock=clock,
        signing=signing,
        interval_seconds=plugins.settings.audit.checkpoint_interval_seconds,
        observers=[_guarded(function) for function in plugins.observers("vault_checkpoint_signed")],
        may_grow=quarantine.is_lifted,
    )


class _Parts(NamedTuple):
    """What those who look at a whole vault are made from."""

    settings: Settings
    storage: Storage
    queue: CommitQueue
    auditor: Auditor
    rulebooks: Rulebooks
    decisions: Decisions
    credentials: Credentials
    watch: ClockWatch


def _entries(of: _Parts, purges: Purges) -> Entries:
    return Entries(
        storage=of.storage,
        queue=of.queue,
        rulebooks=of.rulebooks,
        decisions=of.decisions,
        purges=purges,
        auditor=of.auditor,
        watch=of.watch,
        require_defined_policy=of.settings.access.require_defined_policy,
    )


def _scrubber(of: _Parts) -> Scrubber:
    return Scrubber(
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        mode=of.settings.purge.scrub,
        lock_seconds=of.settings.purge.scrub_lock_seconds,
    )


def _sweeper(of: _Parts, purges: Purges, scrubber: Scrubber) -> Sweeper:
    return Sweeper(
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        rulebooks=of.rulebooks,
        purges=purges,
        watch=of.watch,
        scrubber=scrubber,
        batch=of.settings.purge.sweep_batch,
        pause_seconds=of.settings.purge.sweep_pause_seconds,
    )


def _report(of: _Parts, plugins: Plugins, hardening: Sequence[StepState]) -> Report:
    return Report(
        settings=of.settings,
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        rulebooks=of.rulebooks,
        decisions=of.decisions,
        credentials=of.credentials,
        plugins=plugins.origins,
        sections=list(plugins.offers("vault_report_sections", "report section").values()),
        hardening=hardening,
    )


def _evidence(of: _Parts, plugins: Plugins, report: Report, signing: Signing) -> Evidence:
    return Evidence(
        settings=of.settings,
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        rulebooks=of.rulebooks,
        report=report,
        plugins=plugins.origins,
        signer=signing.current,
    )


def _attestations(of: _Parts, beginning: Beginning, signing: Signing) -> Attestations:
    return Attestations(
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        rulebooks=of.rulebooks,
        beginning=beginning,
        signer=signing.current,
        sweep_interval_hours=of.settings.purge.sweep_interval_hours,
    )


def _controls(
    of: _Parts,
    beginning: Beginning,
    quarantine: Quarantine,
    anchors: Sequence[Anchor],
    authenticators: Sequence[Authenticator],
    sequencer: Sequencer,
) -> Controls:
    checks = ControlChecks(
        settings=of.settings,
        storage=of.storage,
        queue=of.queue,
        rulebooks=of.rulebooks,
        watch=of.watch,
        beginning=beginning,
        quarantine=quarantine,
        anchors=anchors,
        authenticators=authenticators,
        is_signed=sequencer.verifier is not None,
    )
    return Controls(storage=of.storage, queue=of.queue, auditor=of.auditor, checks=checks)


def _built_in_policies(evaluators: dict[str, Any]) -> dict[str, AccessPolicy]:
    policies: dict[str, AccessPolicy] = {}
    for evaluator in evaluators.values():
        try:
            brought = list(evaluator.built_in_policies())
        except Exception as error:
            raise PluginUnusable(f"policy evaluator {evaluator.name}: {type(error).__name__}: {error}") from error
        for policy in brought:
            if policy.name in policies:
                raise SettingsInvalid(f"two plugins bring a built-in access policy called {policy.name}: block one")
            policies[policy.name] = policy
    return policies


def _guarded(observer: Callable[[Record], object]) -> Callable[[Record], None]:
    """Return the observer made harmless: what it raises is logged, and changes nothing."""

    def watch(record: Record) -> None:
        try:
            observer(record)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an observer cannot break an answer
            log.error("observer failed", extra={"observer": observer.__module__, "error": type(error).__name__})  # noqa: TRY400

    return watch


async def _settle(vault: Vault) -> None:
    """Let what is under way land before the storage goes."""
    vault.sweeper.stop()
    await vault.auditor.drain()
    await vault.refusals.close()
    await vault.gaps.close()
    await vault.credentials.flush()
    await vault.queue.drain()


async def _stop_plugins(plugins: Plugins) -> None:
    for name in await plugins.stop():
        log.error("plugin did not shut down cleanly", extra={"plugin": name})


def create_app(settings: Settings | None = None) -> Any:
    """Return the Quart application, for any ASGI server: ``hypercorn 'vsqlvault.runtime:create_app()'``.

    Without ``settings`` it reads the file that ``VSQL_VAULT_CONFIG`` names, and the environment.
    """
    from vsqlvault.http.app import build_app  # noqa: PLC0415 - only serving needs Quart, and it takes long to import

    if settings is None:
        path = os.environ.get("VSQL_VAULT_CONFIG")
        settings = load_settings(Path(path) if path else None)
    chosen = settings

    @asynccontextmanager
    async def opened() -> AsyncIterator[Vault]:
        async with (
            open_vault(chosen) as vault,
            following(vault),
            sequencing(vault),
            sweeping(vault, chosen.purge.sweep_interval_hours),
            watching(vault, attest=chosen.compliance.attest_automatically),
        ):
            yield vault

    return build_app(chosen, opened)
