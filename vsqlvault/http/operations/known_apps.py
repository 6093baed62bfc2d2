"""Warnings for apps and purposes that no credential names."""

from __future__ import annotations

from collections.abc import Iterable

from vsqlvault.errors import VaultError
from vsqlvault.errors.suggestions import VERY_NEAR, did_you_mean, undefined
from vsqlvault.http.operation import RequestContext


def undefined_apps(exchange: RequestContext, apps: Iterable[str]) -> tuple[str, ...]:
    """Return a warning for each app that no credential names; none where tokens may name any app."""
    known = exchange.vault.credentials.inventory.known_apps()
    return () if known is None else undefined("app", apps, known, "no credential names it")


async def misspelt_purpose(exchange: RequestContext, purpose: str) -> tuple[str, ...]:
    """Return a warning where the purpose of a new retention policy is probably misspelt.

    No credential and no hold names it, and there is a very near purpose. Where tokens may name any purpose, the near one must
    be one that a credential or a hold names, and that has no retention policy. A purpose without a policy has no entries.
    """
    try:
        policies = await exchange.vault.rules.policies.policy_snapshot()
    except VaultError:  # the policy is saved: a warning must not make an error of that
        return ()
    inventory = exchange.vault.credentials.inventory
    named = {each for credential in inventory.known() for each in credential.purposes or ()}
    named |= {
        hold.selector.purpose for hold in policies.holds.values() if hold.selector.purpose and not hold.is_released
    }
    if purpose in named:
        return ()
    has_any_purpose = inventory.known_apps() is None
    near_ones = named - policies.retention.keys() if has_any_purpose else named | policies.retention.keys()
    near = did_you_mean(purpose, near_ones - {purpose}, ratio=VERY_NEAR)
    return (f"purpose {purpose} is named by no credential{near}",) if near else ()
