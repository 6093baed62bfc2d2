"""Access policies and retention policies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from vsqlvault.model.access import AccessRequest, Action, Allow, Decision, Deny

POLICY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}", re.ASCII)
DEFAULT_POLICY = "owner-only"
DEFAULT_EVALUATOR = "rules"
OWNER = "@owner"
ADMIN = "@admin"
MAX_RETENTION_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule of one operation.

    ``allowed_apps`` is None for any authenticated app, or a set of apps that may contain ``@owner`` and ``@admin``.
    ``any_purpose`` allows apps without the entry's purpose. ``max_retrievals`` applies only to retrievals.
    """

    allowed_apps: frozenset[str] | None = None
    require_identity: bool = False
    max_retrievals: int | None = None
    any_purpose: bool = False

    def decide(self, request: AccessRequest) -> Decision:
        """Decide one request by this rule alone."""
        principal = request.principal
        if not self.any_purpose and not principal.has_purpose(request.key.purpose):
            return Deny("purpose-not-held")
        if self.require_identity and principal.identity is None:
            return Deny("identity-required")
        if not self._names(request):
            return Deny("app-not-allowed")
        if request.action is Action.RETRIEVE and self._used_up(request):
            return Deny("max-retrievals-reached")
        return Allow(self.max_retrievals if request.action is Action.RETRIEVE else None)

    def _names(self, request: AccessRequest) -> bool:
        principal = request.principal
        owns = principal.app == request.owner_app
        if self.allowed_apps is None:
            # # Any app with the purpose may create an entry. Only its owner may replace it, unless the rule names apps.
            return owns or request.action is not Action.STORE or request.entry is None
        return (
            principal.app in self.allowed_apps
            or (OWNER in self.allowed_apps and owns)
            or (ADMIN in self.allowed_apps and principal.is_admin)
        )

    def _used_up(self, request: AccessRequest) -> bool:
        if self.max_retrievals is None or request.entry is None:
            return False
        return request.entry.retrievals >= self.max_retrievals


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """One version of one access policy.

    ``parameters`` is for the evaluator, as RFC 8785 canonical JSON text of an object. A built-in policy comes from a
    plugin, cannot be changed, and has no author. ``dropped`` marks the version that deleted the policy. It has neither
    evaluator nor rules.
    """

    name: str
    version: int
    evaluator: str
    rules: Mapping[Action, Rule]
    parameters: str = "{}"
    description: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    built_in: bool = False
    dropped: bool = False

    def __post_init__(self) -> None:
        """Make the rules read-only: one policy object serves every request, and evaluators are given it."""
        object.__setattr__(self, "rules", MappingProxyType(dict(self.rules)))

    def __deepcopy__(self, memo: dict[int, object]) -> AccessPolicy:
        return self  # it cannot change, and a read-only mapping cannot be copied

    def decide_by_rules(self, request: AccessRequest) -> Decision:
        """Decide by the rule of the action. Without a rule the answer is no, except that inspecting follows retrieving.

        Admins and auditors may always inspect.
        """
        if request.action is Action.INSPECT and request.principal.may_inspect_all:
            return Allow()
        rule = self.rules.get(request.action)
        if rule is None and request.action is Action.INSPECT:
            rule = self.rules.get(Action.RETRIEVE)
        return rule.decide(request) if rule else Deny("no-rule")


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """One version of the retention policy of a purpose, in days of 24 hours, with its purge method."""

    purpose: str
    version: int
    max_retention_days: int
    default_ttl_days: int | None
    purge_method: str
    description: str | None = None
    justification: str | None = None
    legal_basis: str | None = None
    data_class: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None

    @property
    def reference(self) -> str:
        """The reference to this policy on purge records: ``card v3``."""
        return f"{self.purpose} v{self.version}"

    @property
    def summary(self) -> str:
        """The sentence of the compliance report: ``365 days max, 90 day default TTL``."""
        default = f"{self.default_ttl_days} day" if self.default_ttl_days else "no"
        return f"{self.max_retention_days} days max, {default} default TTL"
