"""Builds the parts that services of several areas share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from vsqlvault.config import Settings
from vsqlvault.errors import PluginUnusable, SettingsInvalid
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.stored_keys import NoStoredKeys
from vsqlvault.model import pci_dss
from vsqlvault.model.control import CONTROL_NAME, CONTROLS
from vsqlvault.model.policy import AccessPolicy
from vsqlvault.model.sandbox import StepState
from vsqlvault.plugin_loader import Plugins
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.runtime.tuning import Tuning
from vsqlvault.service.access.authorizer import Authorizer
from vsqlvault.service.audit.recorder import Auditor
from vsqlvault.service.commit.fair_queue import FairQueue
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.credentials.api_key_cache import ApiKeyCache
from vsqlvault.service.credentials.inventory import Credentials
from vsqlvault.service.credentials.key_origins import KeyOrigins
from vsqlvault.service.entries.key_usage import KeyUsage
from vsqlvault.service.entries.value_integrity import ValueIntegrity
from vsqlvault.service.log.sequencer import Signing
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.purge.purger import Purger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The parts that services of several areas share."""

    settings: Settings
    plugins: Plugins
    storage: Storage
    hardening: Sequence[StepState]
    signing: Signing
    tuning: Tuning
    clock: StorageClock
    queue: CommitQueue
    policy_cache: PolicyCache
    auditor: Auditor
    fair_queue: FairQueue
    authorizer: Authorizer
    purger: Purger
    purge_methods: Mapping[str, PurgeMethod]
    clock_guard: ClockGuard
    anchors: Sequence[Anchor]
    authenticators: Sequence[Authenticator]
    controls: Sequence[VaultControl]
    inventory: Credentials
    integrity: ValueIntegrity
    key_usage: KeyUsage


def shared_parts(
    plugins: Plugins, storage: Storage, hardening: Sequence[StepState], signing: Signing, tuning: Tuning
) -> Core:
    """Build the shared parts. Raises StartUpRefused: a plugin's offer cannot be used."""
    timeout = plugins.settings.access.plugin_timeout_seconds
    clock = StorageClock()
    evaluators = plugins.offers("vault_access_policies")
    policy_cache = PolicyCache(storage, _built_in_policies(evaluators), KeyOrigins(storage).unlogged)
    fair_queue = FairQueue(
        max_waiting=plugins.settings.storage.max_waiting_requests,
        max_wait_seconds=plugins.settings.storage.timeout_seconds,
    )
    queue = _queue(plugins, storage, clock, policy_cache, fair_queue)
    purge_methods = plugins.offers("vault_purge_methods")
    purger = Purger(purge_methods, timeout)
    api_key_cache = ApiKeyCache(policy_cache, queue.read, clock)
    authenticators = _authenticators(plugins, api_key_cache)
    return Core(
        settings=plugins.settings,
        plugins=plugins,
        storage=storage,
        hardening=hardening,
        signing=signing,
        tuning=tuning,
        clock=clock,
        queue=queue,
        policy_cache=policy_cache,
        auditor=Auditor(queue, clock, api_key_cache.revalidate, fair_queue),
        fair_queue=fair_queue,
        authorizer=Authorizer(evaluators, timeout, purger.retires_id),
        purger=purger,
        purge_methods=purge_methods,
        clock_guard=ClockGuard(storage, queue, interval_seconds=tuning.clock_check_seconds),
        anchors=list(plugins.offers("vault_anchors").values()),
        authenticators=authenticators,
        controls=_controls_of_plugins(plugins),
        inventory=Credentials(storage, clock, authenticators, queue.read, tick_seconds=tuning.credential_tick_seconds),
        integrity=ValueIntegrity(),
        key_usage=KeyUsage(
            storage=storage,
            queue=queue,
            cryptoperiod_days=plugins.settings.compliance.cryptoperiod_days,
            refuses_stale=plugins.settings.compliance.refuse_stale_keys,
        ),
    )


def _queue(
    plugins: Plugins, storage: Storage, clock: StorageClock, policy_cache: PolicyCache, fair_queue: FairQueue
) -> CommitQueue:
    return CommitQueue(
        storage,
        clock,
        max_batch=plugins.settings.storage.max_batch,
        max_waiting=plugins.settings.storage.max_waiting_requests,
        batch_seconds=plugins.settings.storage.timeout_seconds,
        follow=policy_cache.at,
        fair_queue=fair_queue,
    )


def _authenticators(plugins: Plugins, api_key_cache: ApiKeyCache) -> list[Authenticator]:
    stored_keys = api_key_cache if plugins.settings.auth.stored_keys else NoStoredKeys()
    return list(plugins.offers("vault_authenticators", stored_keys=stored_keys).values())


def _controls_of_plugins(plugins: Plugins) -> list[VaultControl]:
    """Return the controls that plugins add. Raises PluginUnusable for a name or a requirement that cannot be shown."""
    found: list[VaultControl] = list(plugins.offers("vault_controls").values())
    for control in found:
        if not CONTROL_NAME.fullmatch(control.name) or control.name in CONTROLS:
            raise PluginUnusable(
                f"control {control.name!r}: expected lower-case words with _, and none of the vault's own"
            )
        if unknown := pci_dss.unknown_ids(control.requirements):
            raise PluginUnusable(f"control {control.name!r}: expected ids of PCI DSS, found {unknown[0]!r}")
    return found


def _built_in_policies(evaluators: dict[str, Any]) -> dict[str, AccessPolicy]:
    policies: dict[str, AccessPolicy] = {}
    for evaluator in evaluators.values():
        try:
            brought = list(evaluator.built_in_policies())
        except BaseException as error:
            raise PluginUnusable(f"policy evaluator {evaluator.name}: {type(error).__name__}: {error}") from error
        for policy in brought:
            if policy.name in policies:
                raise SettingsInvalid(f"two plugins bring a built-in access policy called {policy.name}: block one")
            policies[policy.name] = policy
    return policies
