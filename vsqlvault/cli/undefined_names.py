"""Names in settings, credentials, policies and holds that nothing defines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.credential import KnownCredential

MAX_SHOWN = 20


def undefined_names(
    rules: PolicySnapshot,
    credentials: Iterable[KnownCredential],
    *,
    has_unlisted_apps: bool,
    evaluators: Collection[str],
    purge_methods: Collection[str],
) -> list[str]:
    """Return a sentence for each name, with the nearest that is defined, in order.

    ``has_unlisted_apps``: an authenticator names apps that no list contains, such as the apps of tokens. Apps of policies and
    holds are not examined then. ``evaluators`` and ``purge_methods``: those of the loaded plugins.
    """
    known = list(credentials)
    sentences = [
        f"{each.app}: purpose {purpose} has no retention policy{did_you_mean(purpose, rules.retention)}"
        for each in known
        for purpose in each.purposes or ()
        if purpose not in rules.retention
    ]
    apps = {each.app for each in known}
    if apps and not has_unlisted_apps:
        sentences += [
            f"{where}: app {app} has no credential{did_you_mean(app, apps)}"
            for where, app in _named_apps(rules)
            if not app.startswith("@") and app not in apps
        ]
    sentences += _of_rules(rules, evaluators, purge_methods)
    return sorted(set(sentences))[:MAX_SHOWN]


def _named_apps(rules: PolicySnapshot) -> Iterator[tuple[str, str]]:
    for policy in rules.access.values():
        for rule in policy.rules.values():
            yield from ((f"access policy {policy.name}", app) for app in rule.allowed_apps or ())
    for hold in rules.holds.values():
        if hold.selector.owner_app is not None and not hold.is_released:
            yield f"legal hold {hold.name}", hold.selector.owner_app


def _of_rules(rules: PolicySnapshot, evaluators: Collection[str], purge_methods: Collection[str]) -> Iterator[str]:
    for access in rules.access.values():
        if access.evaluator not in evaluators:
            near = did_you_mean(access.evaluator, evaluators)
            yield f"access policy {access.name}: no plugin offers the evaluator {access.evaluator}{near}"
    for retention in rules.retention.values():
        if retention.purge_method not in purge_methods:
            near = did_you_mean(retention.purge_method, purge_methods)
            yield f"retention policy {retention.purpose}: no plugin offers the purge method {retention.purge_method}{near}"
        for name in set(retention.allowed_access_policies or ()) - set(rules.access):
            near = did_you_mean(name, rules.access)
            yield f"retention policy {retention.purpose}: access policy {name} is not defined{near}"
    for hold in rules.holds.values():
        purpose = hold.selector.purpose
        if purpose is not None and purpose not in rules.retention and not hold.is_released:
            yield f"legal hold {hold.name}: purpose {purpose} has no retention policy{did_you_mean(purpose, rules.retention)}"
