"""Names that nothing defines: purposes of credentials without a retention policy, and apps of policies without a credential."""

from __future__ import annotations

from collections.abc import Iterable

from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.credential import KnownCredential

MAX_SHOWN = 20


def undefined_names(
    rules: PolicySnapshot, credentials: Iterable[KnownCredential], *, has_unlisted_apps: bool
) -> list[str]:
    """Return a sentence for each name, with the nearest that is defined, in order.

    ``has_unlisted_apps``: an authenticator names apps that no list contains, such as the apps of tokens. Apps of policies are
    not examined then.
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
            f"access policy {policy.name}: app {app} has no credential{did_you_mean(app, apps)}"
            for policy in rules.access.values()
            for rule in policy.rules.values()
            for app in rule.allowed_apps or ()
            if not app.startswith("@") and app not in apps
        ]
    return sorted(set(sentences))[:MAX_SHOWN]
