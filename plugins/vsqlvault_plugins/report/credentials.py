"""The report's section on credentials: number, age and last use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.times import format_time
from vsqlvault.sandbox.environment import readable_variables
from vsqlvault_plugins.report.shape import ASK_THE_SERVER, Finding
from vsqlvault_plugins.report.shape import MAX_LISTED as LISTED

MAX_LISTED = 1_000
OF_VARIABLE = "env:"
_THIRTY_DAYS = timedelta(days=30)


class Credentials:
    """Credentials that are known in advance, by method (PCI DSS 4.0.1, 8.3.2 and 8.6)."""

    name = "credentials"

    def __init__(self, max_age_days: int) -> None:
        self._max_age_days = max_age_days

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Counts for each method, and the active credentials, oldest first."""
        at = context.as_of
        there = [each for each in context.credentials if each.created_at is None or each.created_at <= at]
        active = [each for each in there if each.state(at) == "active"]
        active.sort(key=lambda each: _place(each, at))
        unknown = sum(each.is_strong is None for each in active)
        serves = bool(context.hardening)
        exceptions = self._exceptions(active, at, _readable(active) if serves else frozenset())
        finding = Finding(
            title="Credentials",
            requirements=("8.3.2", "8.6.3"),
            supports=(
                "Each key is strong, was made not longer ago than the limit, and has an expiry. The storage and the "
                "settings have digests, except of keys in environment variables, which a server overwrites there at its start."
            ),
            method=(
                "Credentials that are known in advance, as of the report's time. The age counts from the time at which "
                "the key was made. A key is strong if the vault made it, or if it has at least 22 characters, 10 of "
                "them different; of a key of which the settings have the digest, the vault does not know it. Keys from "
                "environment variables stay in the memory of the process. Only a server knows whether its own environment "
                "shows them; a command does not assess it. "
                "Last uses are those known when the report is written. Tokens are not included."
            ),
            check=(
                "GET /admin/api-keys has the stored keys, GET /admin/access-log?operation=credential-added those of the "
                "settings."
            ),
            measured="as_of",
            population=len(there),
            exceptions=exceptions[:LISTED],
            exceptions_count=len(exceptions),
            owner=_owner(active, unknown, serves=serves),
            figures={"strength_unknown": unknown},
        )
        return finding.member(context.period) | {
            "max_age_days": self._max_age_days,
            "by_method": {
                method: self._summary([each for each in there if each.method == method], at)
                for method in sorted({each.method for each in there})
            },
            "active": [self._listed(each, at) for each in active[:MAX_LISTED]],
            "active_not_listed": max(0, len(active) - MAX_LISTED),
        }

    def _exceptions(
        self, active: Sequence[KnownCredential], at: datetime, readable: Collection[str]
    ) -> list[dict[str, Any]]:
        found: tuple[tuple[str, Callable[[KnownCredential], bool]], ...] = (
            (f"older than {self._max_age_days} days", lambda each: self._is_old(each, at)),
            ("the time at which it was made is not known", lambda each: _since(each, at) is None),
            ("no expiry", lambda each: each.expires_at is None),
            ("weak: shorter than 22 characters, or fewer than 10 different ones", lambda each: each.is_strong is False),
            ("readable in the environment of the process", lambda each: each.credential_id in readable),
        )
        return [
            {"what": what, "app": each.app, "credential_id": each.credential_id}
            for what, applies in found
            for each in active
            if applies(each)
        ]

    def _summary(self, there: Sequence[KnownCredential], at: datetime) -> dict[str, Any]:
        active = [each for each in there if each.state(at) == "active"]
        since = [found for each in active if (found := _since(each, at))]
        used = [each.last_used_at for each in active if each.last_used_at]
        return {
            "active": len(active),
            "expired": sum(each.state(at) == "expired" for each in there),
            "revoked": sum(each.state(at) == "revoked" for each in there),
            "never_used": sum(each.last_used_at is None for each in active),
            "without_expiry": sum(each.expires_at is None for each in active),
            "expiring_next_30_days": sum(
                each.expires_at is not None and each.expires_at - at <= _THIRTY_DAYS for each in active
            ),
            "older_than_max_age": sum(self._is_old(each, at) for each in active),
            "age_unknown": len(active) - len(since),
            "oldest_since": format_time(min(since)) if since else None,
            "last_used_at": format_time(max(used)) if used else None,
        }

    def _listed(self, credential: KnownCredential, at: datetime) -> dict[str, Any]:
        since = _since(credential, at)
        return {
            "credential_id": credential.credential_id,
            "method": credential.method,
            "source": credential.source,
            "app": credential.app,
            "identity": credential.identity,
            "roles": sorted(credential.roles),
            "purposes": ["*"] if credential.purposes is None else sorted(credential.purposes),
            "since": _shown(since),
            "age_days": (at - since).days if since else None,
            "older_than_max_age": self._is_old(credential, at),
            "expires_at": _shown(credential.expires_at),
            "first_used_at": _shown(credential.first_used_at),
            "last_used_at": _shown(credential.last_used_at),
        }

    def _is_old(self, credential: KnownCredential, at: datetime) -> bool:
        since = _since(credential, at)
        return since is not None and (at - since).days > self._max_age_days


def _since(credential: KnownCredential, at: datetime) -> datetime | None:
    """Return when the credential was made, if that is known. Its first use shows only that it is not younger."""
    return credential.created_at if credential.created_at and credential.created_at <= at else None


def _owner(active: Sequence[KnownCredential], unknown: int, *, serves: bool) -> str | None:
    """Return who can assess what is not known here: the strength of keys, and the environment of the server."""
    if unknown:
        return f"the owners of the apps: the strength of {unknown} credentials is not known"
    in_environment = any(each.credential_id.startswith(OF_VARIABLE) for each in active)
    return ASK_THE_SERVER if in_environment and not serves else None


def _readable(active: Sequence[KnownCredential]) -> frozenset[str]:
    """Return the ids of the keys that everybody who may see the environment of this process can read."""
    names = {
        each.credential_id.removeprefix(OF_VARIABLE) for each in active if each.credential_id.startswith(OF_VARIABLE)
    }
    try:
        return frozenset(OF_VARIABLE + name for name in readable_variables(names))
    except OSError:
        return frozenset()


def _place(credential: KnownCredential, at: datetime) -> tuple[bool, float, str, str]:
    """The sort key by age. Credentials of unknown age come first."""
    since = _since(credential, at)
    return since is not None, since.timestamp() if since else 0.0, credential.method, credential.credential_id


def _shown(at: datetime | None) -> str | None:
    return format_time(at) if at else None
