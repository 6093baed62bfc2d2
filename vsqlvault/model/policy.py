"""Access policies and retention policies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from vsqlvault.model.access import AccessRequest, Action, Allow, Decision, Deny
from vsqlvault.model.entry import Entry
from vsqlvault.model.principal import Principal
from vsqlvault.quick_dataclass import dataclass

POLICY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}", re.ASCII)
DEFAULT_POLICY = "owner-only"
DEFAULT_EVALUATOR = "rules"
OWNER = "@owner"
ADMIN = "@admin"
MAX_RETENTION_DAYS = 36_500
_ALLOW = Allow()


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
        principal, entry, action = request.principal, request.entry, request.action
        purposes, limit = principal.purposes, self.max_retrievals
        denied = None
        if not self.any_purpose and purposes is not None and request.key.purpose not in purposes:
            denied = "purpose-not-held"
        elif self.require_identity and principal.identity is None:
            denied = "identity-required"
        elif not self._allows(principal, action, entry):
            denied = "app-not-allowed"
        elif action is Action.RETRIEVE and limit is not None:
            if entry is None or entry.retrievals < limit:
                return Allow(limit)
            denied = "max-retrievals-reached"
        return _ALLOW if denied is None else Deny(denied)

    def _allows(self, principal: Principal, action: Action, entry: Entry | None) -> bool:
        app, apps = principal.app, self.allowed_apps
        owns = entry is None or entry.owner_app == app
        if apps is None:
            # Anyone may create an entry. Only its owner replaces it, unless the rule names apps.
            return owns or action is not Action.STORE
        return app in apps or (owns and OWNER in apps) or (ADMIN in apps and principal.is_admin)


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
    """One version of the retention policy of a purpose, in days of 24 hours, with its purge method.

    Entries of the purpose may name only ``allowed_access_policies`` (None: any), have values of at most ``max_value_bytes``,
    and have every member of ``required_metadata``. With ``inactivity_days`` an entry expires this number of days after its last
    retrieval, or after it was stored, and at the maximum at the latest.
    """

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
    allowed_access_policies: tuple[str, ...] | None = None
    max_value_bytes: int | None = None
    required_metadata: tuple[str, ...] = ()
    inactivity_days: int | None = None

    @property
    def reference(self) -> str:
        """The reference to this policy on purge records: ``card v3``."""
        return f"{self.purpose} v{self.version}"

    @property
    def summary(self) -> str:
        """The sentence of the compliance report: ``365 days max, 90 day default TTL``."""
        default = f"{self.default_ttl_days} day" if self.default_ttl_days else "no"
        idle = f", {self.inactivity_days} days after the last retrieval" if self.inactivity_days else ""
        return f"{self.max_retention_days} days max, {default} default TTL{idle}"
