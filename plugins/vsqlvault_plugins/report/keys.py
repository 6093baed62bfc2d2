"""The keys in use, and whether their cryptoperiods are over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsqlvault.config import ComplianceSettings
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.interfaces.statistics import KeyRefUse
from vsqlvault.model.times import format_time
from vsqlvault_plugins.report.shape import MAX_LISTED, Finding, bars, example, rows_not_at_hand

AGES = ((30, "up to 30 days"), (90, "31 to 90 days"), (365, "91 to 365 days"), (730, "1 to 2 years"))
OLDER = "over 2 years"


class KeyInventory:
    """Keys by ``key_ref``, with age and cryptoperiod (PCI DSS 4.0.1, 3.6.1, 3.7.4, 3.7.5)."""

    name = "key_inventory"

    def __init__(self, settings: ComplianceSettings) -> None:
        self._settings = settings

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """The keys in use, oldest first, and those that can be retired.

        Exceptions are stale keys and entries without a key.
        """
        keys = [
            self._key(purpose, use, use.key_ref, context)
            for purpose, use in context.key_uses
            if use.key_ref is not None
        ]
        keys.sort(key=lambda key: (key["first_used_at"], key["purpose"], key["key_ref"]))
        unnamed = {purpose: _entries(use) for purpose, use in context.key_uses if use.key_ref is None}
        named = [keys[0]["purpose"], keys[0]["key_ref"]] if keys else []
        return Finding(
            title="Key inventory and cryptoperiods",
            requirements=("3.6.1", "3.6.1.3", "3.7.4", "3.7.5"),
            supports=(
                "The vault has no data key. Each entry names the key that encrypted it, which identifies keys past "
                "their cryptoperiod and keys that are no longer needed."
            ),
            method=(
                "Entries not purged, by purpose and key_ref. The age of a key counts from the first value that was "
                "stored under it, in any purpose, also if that value was purged since. It is stale if that age reaches "
                "its cryptoperiod in [compliance.cryptoperiods]. The vault does not know whether a key was in use "
                "elsewhere before. Retirable: keys whose last value was destroyed or replaced in the period."
            ),
            check=(
                f"GET /admin/key-refs counts the entries of each key, GET /vault/{example(named[:1], '{purpose}')}?key_ref="
                f"{example(named[1:], 'KEY')} lists those of one."
            ),
            measured="as_of",
            population=len(keys),
            exceptions=[*rows_not_at_hand(context, "entries", purpose=None, key_ref=None), *_exceptions(keys, unnamed)],
            owner=self._owner(keys),
            figures=_figures(context, keys, unnamed),
            charts=[_ages(keys)],
        ).member(context.period)

    def _key(self, purpose: str, use: KeyRefUse, key_ref: str, context: ReportContext) -> dict[str, Any]:
        days = self._settings.cryptoperiod_days(key_ref)
        at, known = context.as_of, context.key_lifetimes.get(key_ref)
        first_used_at = min(use.first_used_at, known.first_used_at) if known else use.first_used_at
        age = max(0, (at - first_used_at).days)
        last_put_at = known.last_used_at if known and known.last_used_at <= at else use.first_used_at
        return {
            "purpose": purpose,
            "key_ref": key_ref,
            "entries": _entries(use),
            "first_used_at": format_time(first_used_at),
            "last_used_at": format_time(use.last_used_at),
            "age_days": age,
            "cryptoperiod_days": days,
            "stale": days is not None and age >= days,
            "used_past_cryptoperiod": days is not None and (last_put_at - first_used_at).days >= days,
        }

    def _owner(self, keys: list[dict[str, Any]]) -> str | None:
        if keys and not self._settings.cryptoperiods:
            return "the operator of the vault: no cryptoperiod is set in [compliance.cryptoperiods]"
        missing = sum(key["cryptoperiod_days"] is None for key in keys)
        if missing:
            return (
                f"the operator of the vault: [compliance.cryptoperiods] has no period for {missing} of {len(keys)} keys"
            )
        return None


def _exceptions(keys: list[dict[str, Any]], unnamed: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return stale keys, keys that were used past their cryptoperiod, and entries without a key."""
    found = [_exception(key, "stale key") for key in keys if key["stale"]]
    late = "values were stored under the key after its cryptoperiod"
    found += [_exception(key, late) for key in keys if key["used_past_cryptoperiod"]]
    return found + [
        {"purpose": purpose, "what": "entries without a key_ref", "key_ref": None, "entries": count}
        for purpose, count in sorted(unnamed.items())
    ]


def _exception(key: Mapping[str, Any], what: str) -> dict[str, Any]:
    return {"purpose": key["purpose"], "what": what, "key_ref": key["key_ref"], "entries": key["entries"]}


def _figures(context: ReportContext, keys: list[dict[str, Any]], unnamed: Mapping[str, int]) -> dict[str, Any]:
    retired = sorted(context.evidence.retired_keys, key=lambda key: (key.purpose, key.key_ref))
    return {
        "keys": len(keys),
        "keys_ever_used": len(_ever(context)),
        "all_keys_counted": context.key_uses_complete,
        "stale": sum(key["stale"] for key in keys),
        "without_cryptoperiod": sum(key["cryptoperiod_days"] is None for key in keys),
        "entries_without_key_ref": sum(unnamed.values()),
        "entries_by_purpose_without_key_ref": {
            purpose: of.without_key_ref
            for purpose, of in sorted(context.entry_statistics.by_purpose.items())
            if of.without_key_ref
        },
        "entries_by_provider": _by_provider(keys),
        "retirable": [
            {"purpose": key.purpose, "key_ref": key.key_ref, "last_purged_at": format_time(key.last_purged_at)}
            for key in retired[:MAX_LISTED]
        ],
        "retirable_count": len(retired),
        "in_use": keys[:MAX_LISTED],
        "in_use_not_listed": max(0, len(keys) - MAX_LISTED),
    }


def _ever(context: ReportContext) -> set[str]:
    """Return every key that was in use until the report's time, also without an entry now."""
    known = {name for name, use in context.key_lifetimes.items() if use.first_used_at <= context.as_of}
    return known | {use.key_ref for _, use in context.key_uses if use.key_ref is not None}


def _entries(use: KeyRefUse) -> int:
    return use.active + use.expired_pending_purge


def _by_provider(keys: list[dict[str, Any]]) -> dict[str, int]:
    """Count entries by the prefix of their key_ref up to the first colon, which usually names the provider."""
    found: dict[str, int] = {}
    for key in keys:
        provider, colon, _ = key["key_ref"].partition(":")
        name = provider if colon else "(no provider named)"
        found[name] = found.get(name, 0) + key["entries"]
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_LISTED])


def _ages(keys: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {label: [0, 0] for _, label in AGES} | {OLDER: [0, 0]}
    for key in keys:
        label = next((label for days, label in AGES if key["age_days"] <= days), OLDER)
        counts[label][key["stale"]] += 1
    rows = [(label, numbers) for label, numbers in counts.items()] if keys else []
    return bars("Keys by age", "keys", ["within cryptoperiod or none set", "stale"], rows)
