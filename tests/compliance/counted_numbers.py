"""How each number of the report is counted again from raw rows, by the pattern of its path."""

from __future__ import annotations

from tests.compliance import counts as c
from tests.compliance.living import DAY, GRACE, MAXIMUM
from tests.compliance.recount import Count

RETENTION: dict[str, Count] = {
    "summary/total_entries": lambda f, _: len(f.entries) + c.recent(f),
    "summary/active_entries": lambda f, _: len(f.entries) - len(f.expired()),
    "summary/expired_pending_purge": lambda f, _: len(f.expired()),
    "summary/purged_last_30_days": lambda f, _: c.recent(f),
    "by_purpose/*/active": lambda f, p: len(f.of(p[1])) - len(f.expired(p[1])),
    "by_purpose/*/entries_expiring_next_30_days": lambda f, p: sum(
        f.at < f.end(row) <= f.at + 30 * DAY for row in f.of(p[1])
    ),
    "by_purpose/*/key_refs/*": lambda f, p: sum(
        row["key_ref"] == p[-1] and f.end(row) > f.at for row in f.of(p[1])
    ),
    "purge_compliance/entries_purged_last_sweep": lambda f, _: c.last_sweep(f, "purged"),
    "retention_and_purge/population": lambda f, _: len(f.entries),
    "retention_and_purge/exceptions/count": lambda f, _: sum(f.overdue(each) > 0 for each in MAXIMUM)
    + sum(not row["justification"] for row in f.policies("retention_policies", "purpose")),
    "retention_and_purge/exceptions/listed/*/count": lambda f, p: f.overdue(c.named(f, p, "purpose"))
    if "overdue" in c.named(f, p, "what")
    else 1,
    "retention_and_purge/figures/expired_not_purged": lambda f, _: len(f.expired()),
    "retention_and_purge/figures/held": lambda f, _: f.held(f.expired()),
    "retention_and_purge/figures/overdue": lambda f, _: f.overdue(),
    "retention_and_purge/figures/purged_in_period": lambda f, _: len(f.purges),
    "retention_and_purge/figures/purged_by_reason/*": lambda f, p: sum(row["reason"] == p[-1] for row in f.purges),
    "retention_and_purge/figures/purged_by_method/*": lambda f, p: sum(row["method"] == p[-1] for row in f.purges),
    "retention_and_purge/figures/lag/*": lambda f, p: f.lag(p[-1]),
    "retention_and_purge/figures/by_purpose/*/max_retention_days": lambda f, p: MAXIMUM[p[3]],
    "retention_and_purge/figures/by_purpose/*/active": lambda f, p: len(f.of(p[3])) - len(f.expired(p[3])),
    "retention_and_purge/figures/by_purpose/*/expired_not_purged": lambda f, p: len(f.expired(p[3])),
    "retention_and_purge/figures/by_purpose/*/held": lambda f, p: f.held(f.expired(p[3])),
    "retention_and_purge/figures/by_purpose/*/overdue": lambda f, p: f.overdue(p[3]),
    "retention_and_purge/figures/by_purpose/*/purged_in_period": lambda f, p: sum(
        row["purpose"] == p[3] for row in f.purges
    ),
    "retention_and_purge/figures/by_purpose/*/lag/*": lambda f, p: f.lag(p[-1], p[3]),
    "retention_and_purge/charts/*/bars/*/values/*": c.in_retention_chart,
    "sweeps/population": lambda f, _: len(f.rows["sweeps"]),
    "sweeps/exceptions/count": lambda f, _: sum(gap > 2 * GRACE for gap in c.gaps_of_sweeps(f)),
    "sweeps/exceptions/listed/*/count": lambda f, _: 1,
    "sweeps/figures/longest_gap_seconds": lambda f, _: max(c.gaps_of_sweeps(f)).total_seconds(),
    "sweeps/figures/runs": lambda f, _: len(f.rows["sweeps"]),
    "sweeps/figures/not_completed": lambda f, _: sum(not row["completed"] for row in f.rows["sweeps"]),
    # An expired entry that its owner stores again is purged by that, and by no sweep.
    "sweeps/figures/purged": lambda f, _: sum((row["reason"], row["app"]) == ("expired", "vault-admin") for row in f.purges),
    "sweeps/figures/failed": lambda f, _: sum(row["failed"] for row in f.rows["sweeps"]),
    "sweeps/figures/held_at_last_run": lambda f, _: c.last_sweep(f, "held"),
    "sweeps/figures/longest_seconds": lambda f, _: max(
        (row["finished_at"] - row["started_at"]).total_seconds() for row in f.rows["sweeps"]
    ),
    "sweeps/figures/listed/*/*": c.sweep,
    "legal_holds/active": lambda f, _: len(f.holds),
    "legal_holds/expired_held": lambda f, _: f.held(f.expired()),
    "legal_holds/held_at_last_sweep": lambda f, _: c.last_sweep(f, "held"),
    "legal_holds/holds/*/version": lambda f, p: f.holds[c.named(f, p, "name")]["version"],
    "legal_holds/holds/*/age_days": lambda f, p: (f.at - f.holds[c.named(f, p, "name")]["held_since"]).days,
    "legal_holds/holds/*/expired_held": lambda f, p: f.held(f.expired(), c.named(f, p, "name")),
}  # fmt: skip


DATA: dict[str, Count] = {
    "data_classes/population": lambda f, _: len(f.entries),
    "data_classes/exceptions/count": lambda f, _: 0,
    "data_classes/figures/entries_by_data_class/*": lambda f, p: c.classes(f, p[-1]),
    "stored_data/population": lambda f, _: len(f.entries),
    "stored_data/exceptions/count": lambda f, _: len(
        {row["purpose"] for row in f.entries if row["algorithm_hint"] is None}
    ),
    "stored_data/exceptions/listed/*/count": lambda f, p: sum(
        row["algorithm_hint"] is None for row in f.of(c.named(f, p, "purpose"))
    ),
    "stored_data/figures/by_algorithm_hint/*": lambda f, p: c.hints(f, p[-1]),
    "stored_data/figures/algorithm_hints": lambda f, _: len({row["algorithm_hint"] for row in f.entries}),
    "stored_data/figures/without_algorithm_hint": lambda f, _: c.hints(f, "(none given)"),
    "stored_data/charts/*/bars/*/values/*": lambda f, p: c.hints(f, c.bar(f, p)[1]),
    "cryptography/population": lambda f, _: len(f.entries),
    "cryptography/exceptions/count": lambda f, _: 0,
    "cryptography/figures/entries_by_algorithm_hint/*": lambda f, p: c.hints(f, p[-1]),
    "cryptography/figures/keys": lambda f, _: len({key for _, key in f.keys}),
    "cryptography/figures/keys_with_cryptoperiod": lambda f, _: sum(
        f.cryptoperiod(key) is not None for key in {key for _, key in f.keys}
    ),
    "key_inventory/population": lambda f, _: len(f.keys),
    "key_inventory/exceptions/count": lambda f, _: c.exceptions_of_keys(f),
    "key_inventory/exceptions/listed/*/entries": c.entries_of_exception,
    "key_inventory/figures/keys": lambda f, _: len(f.keys),
    "key_inventory/figures/keys_ever_used": lambda f, _: len(f.stored_under),
    "key_inventory/figures/stale": lambda f, _: sum(f.is_stale(key) for _, key in f.keys),
    "key_inventory/figures/without_cryptoperiod": lambda f, _: sum(f.cryptoperiod(key) is None for _, key in f.keys),
    "key_inventory/figures/entries_without_key_ref": lambda f, _: sum(row["key_ref"] is None for row in f.entries),
    "key_inventory/figures/entries_by_purpose_without_key_ref/*": lambda f, p: sum(
        row["key_ref"] is None for row in f.of(p[-1])
    ),
    "key_inventory/figures/entries_by_provider/*": lambda f, p: c.providers(f, p[-1]),
    "key_inventory/figures/retirable_count": lambda f, _: c.retirable(f),
    "key_inventory/figures/in_use/*/entries": lambda f, p: f.keys[c.named(f, p, "purpose"), c.named(f, p, "key_ref")],
    "key_inventory/figures/in_use/*/age_days": lambda f, p: f.age(c.named(f, p, "key_ref")),
    "key_inventory/figures/in_use/*/cryptoperiod_days": lambda f, p: f.cryptoperiod(c.named(f, p, "key_ref")),
    "key_inventory/figures/in_use_not_listed": lambda f, _: max(0, len(f.keys) - 100),
    "key_inventory/charts/*/bars/*/values/*": c.in_key_chart,
    "undefined_access_policies/entries_by_policy/*": lambda f, p: sum(
        row["access_policy"] == p[-1] for row in f.entries
    ),
}


ACCESS: dict[str, Count] = {
    "access_review/population": lambda f, _: c.may(f),
    "access_review/exceptions/count": lambda f, _: c.exceptions_of_review(f),
    "access_review/figures/purposes_reviewed": lambda f, _: len({
        each["purpose"] for review in f.reviews() for each in review["purposes"]
    }),
    "access_review/figures/by_purpose/*/policies/*/entries": lambda f, p: sum(
        row["access_policy"] == p[5] for row in f.of(p[3])
    ),
    "access_review/figures/by_purpose/*/policies/*/version": lambda f, p: max(
        [row["version"] for row in f.rows["access_policies"] if row["name"] == p[5]], default=1
    ),
    "access_review/figures/by_purpose/*/holders": lambda f, p: len(c.holders(f, p[3])),
    "access_review/figures/by_purpose/*/used_by/*/rows": lambda f, p: sum(
        count for (app, _), count in c.uses(f, p[3]).items() if app == p[5]
    ),
    "access_review/figures/by_purpose/*/used_by/*/*": lambda f, p: c.uses(f, p[3])[p[5], p[6]],
    "access_review/figures/by_purpose/*/used_by_count": lambda f, p: len(c.apps(f, p[3])),
    "access_review/figures/by_purpose/*/never_used_count": lambda f, p: len(c.holders(f, p[3]) - c.apps(f, p[3])),
    "access_review/figures/by_purpose/*/review_number": lambda f, p: f.review(p[3])["number"],
    "default_deny/exceptions/count": lambda f, _: 0,
    "bulk_access/population": lambda f, _: c.reads(f),
    "bulk_access/exceptions/count": lambda f, _: 0,
    "bulk_access/figures/reads": lambda f, _: c.reads(f),
    "bulk_access/figures/readers": lambda f, _: len({row["app"] for row in f.granted("retrieve", "list", "inspect")}),
    "bulk_access/figures/listed/*/*": lambda f, p: sum(
        row["app"] == c.named(f, p, "app") for row in f.granted(str(p[-1]))
    ),
    "user_accounts/population": lambda f, _: sum(bool(row["roles"]) for row in f.active_keys),
    "user_accounts/exceptions/count": lambda f, _: sum(
        (each["due_at"] <= f.report["as_of"]) + (each["reviewed_by"]["identity"] is None) + (each["note"] is None)
        for each in [next(review for review in f.reviews() if review["accounts"])]
    ),
    "user_accounts/figures/review_number": lambda f, _: next(each for each in f.reviews() if each["accounts"])["number"],
    "user_accounts/figures/not_listed": lambda f, _: 0,
    "identities/population": lambda f, _: c.with_role(f),
    "identities/exceptions/count": lambda f, _: len(set(c.without_identity(f))),
    "identities/exceptions/listed/*/count": lambda f, p: sum(
        app == c.named(f, p, "app") for app, _ in c.without_identity(f)
    ),
    "identities/figures/rows_with_role": lambda f, _: c.with_role(f),
    "identities/figures/rows_without_identity": lambda f, _: len(c.without_identity(f)),
    "credentials/population": lambda f, _: len(f.api_keys) + len(f.of_settings),
    "credentials/exceptions/count": lambda f, _: c.exceptions_of_credentials(f),
    "credentials/figures/strength_unknown": lambda f, _: len(f.of_settings),
    "credentials/by_method/api-key/*": c.by_method,
    "credentials/active/*/age_days": lambda f, p: next(
        (f.at - row["created_at"]).days for row in f.api_keys if row["key_id"] == c.named(f, p, "credential_id")
    ),
    "credentials/active_not_listed": lambda f, _: 0,
    "unused_credentials/population": lambda f, _: len(f.active_keys) + len(f.of_settings),
    "unused_credentials/exceptions/count": lambda f, _: c.unused(f),
    "unused_credentials/figures/active": lambda f, _: len(f.active_keys) + len(f.of_settings),
    "unused_credentials/figures/unused": lambda f, _: c.unused(f),
    "rejected_credentials/population": lambda f, _: c.events(f, "authenticate"),
    "rejected_credentials/exceptions/count": lambda f, _: 0,
    "rejected_credentials/figures/rejected_events": lambda f, _: c.events(f, "authenticate"),
    "rejected_credentials/figures/by_reason/*/events": lambda f, p: sum(
        row["count"] for row in f.access if row["operation"] == "authenticate" and row["reason"] == p[3]
    ),
    "factors/population": lambda f, _: c.with_role(f),
    "factors/exceptions/count": lambda f, _: 0,
    "factors/figures/rows_with_role": lambda f, _: c.with_role(f),
}  # fmt: skip

LOGS: dict[str, Count] = {
    "audit_coverage/population": lambda f, _: len(f.access),
    "audit_coverage/exceptions/count": lambda f, _: sum(
        row["app"] is None or (row["client_address"] is None and row["method"] != "system")
        for row in f.access
        if row["outcome"] == "granted"
    ),
    "audit_coverage/figures/rows": lambda f, _: len(f.access),
    "audit_coverage/figures/events": lambda f, _: sum(row["count"] for row in f.access),
    "audit_coverage/figures/by_class/*/rows": c.by_class,
    "audit_coverage/figures/by_role/*": c.by_role,
    "audit_coverage/figures/by_admins/*": lambda f, p: sum(
        row["role"] == "admin" and row["operation"] == p[-1] for row in f.access
    ),
    "audit_coverage/figures/by_operation/*/*": c.by_operation,
    "log_review/population": lambda f, _: len(f.granted("read-access-log", "read-purge-log", "export-evidence")),
    "log_review/exceptions/count": lambda f, _: 0,
    "log_review/figures/reads": lambda f, _: len(f.granted("read-access-log", "read-purge-log", "export-evidence")),
    "log_review/figures/by_app/*": lambda f, p: sum(
        row["app"] == p[-1] for row in f.granted("read-access-log", "read-purge-log", "export-evidence")
    ),
    "log_history/population": lambda f, _: 2,
    "log_history/exceptions/count": lambda f, _: 0,
    "log_history/figures/days_at_hand": lambda f, _: (f.at - min(row["at"] for row in f.rows["access_log"])).days,
    "log_integrity/population": lambda f, _: len(f.rows["leaves"]),
    "log_integrity/exceptions/count": lambda f, _: 1,
    "log_integrity/exceptions/listed/*/leaves": lambda f, _: len(f.rows["leaves"]),
    "log_integrity/figures/leaves": lambda f, _: len(f.rows["leaves"]),
    "log_integrity/figures/leaves_not_under_a_checkpoint": lambda f, _: len(f.rows["leaves"]),
    "controls/population": lambda f, _: len({row["name"] for row in f.rows["control_changes"]}),
    "controls/exceptions/count": lambda f, _: c.late_failures(f),
    "controls/figures/failures_in_period": lambda f, _: len(f.controls("failing")),
    "controls/figures/failures/*/lasted_seconds": lambda f, p: (
        f.controls("ok")[int(p[3])]["at"] - f.controls("failing")[int(p[3])]["at"]
    ).total_seconds(),
    "attestations/population": lambda f, _: len(f.rows["attestations"]),
    "attestations/exceptions/count": lambda f, _: c.exceptions_of_attestations(f),
    "attestations/figures/listed/*/number": lambda f, p: sorted(
        (row["number"] for row in f.rows["attestations"]), reverse=True
    )[int(p[3])],
    "trends/population": lambda f, _: sum(c.in_all(f, kind) for kind in ("stored", "retrieved", "denied", "purged")),
    "trends/exceptions/count": lambda f, _: 0,
    "trends/figures/total/*": lambda f, p: c.in_all(f, str(p[-1])),
    "trends/figures/days_with_activity": lambda f, _: c.active_days(f),
    "trends/figures/days/*/*": lambda f, p: c.of_day(f, c.named(f, p, "day"), str(p[-1])),
    "denied_access/population": lambda f, _: c.in_all(f, "denied"),
    "denied_access/exceptions/count": lambda f, _: 0,
    "denied_access/figures/denied_rows": lambda f, _: len(f.denied()),
    "denied_access/figures/denied_events": lambda f, _: c.in_all(f, "denied"),
    "denied_access/figures/by_reason/*": lambda f, p: c.denied(f, "reason", p[-1]),
    "denied_access/figures/by_operation/*": lambda f, p: c.denied(f, "operation", p[-1]),
    "denied_access/figures/by_app/*": lambda f, p: c.denied(f, "app", p[-1], c.NOBODY),
    "denied_access/figures/by_purpose/*": lambda f, p: c.denied(f, "purpose", p[-1], "(none)"),
    "denied_access/charts/*/bars/*/values/*": lambda f, p: c.denied(f, "reason", c.bar(f, p)[1]),
    "policy_changes/population": lambda f, _: c.changes(f),
    "policy_changes/exceptions/count": lambda f, _: 0,
    "policy_changes/figures/changes": lambda f, _: c.changes(f),
    "policy_changes/figures/retention_policies_in_force": lambda f, _: len(f.policies("retention_policies", "purpose")),
    "policy_changes/figures/access_policies_in_force": lambda f, _: len(f.policies("access_policies", "name")) + 4,
    "policy_changes/figures/built_in_access_policies": lambda f, _: 4,
    "policy_changes/figures/listed/*/version": c.version,
    "policy_changes/figures/not_listed": lambda f, _: max(0, c.changes(f) - 100),
    "time_settings/population": lambda f, _: len(f.access),
    "time_settings/exceptions/count": lambda f, _: sum(c.events(f, each) > 0 for each in ("clock-jump", "clock-backwards")),
    "time_settings/exceptions/listed/*/count": lambda f, p: c.events(
        f, "clock-jump" if "jumps" in c.named(f, p, "what") else "clock-backwards"
    ),
    "time_settings/figures/*": lambda f, p: c.events(f, str(p[-1])),
}  # fmt: skip

ALL: dict[str, Count] = {**RETENTION, **DATA, **ACCESS, **LOGS}

NO_COUNTS = (
    "retention_and_purge/figures/grace_hours",  # a setting
    "default_deny/population",  # self tests of the code
    "database_roles/*/*", "database_roles/population", "database_roles/figures/file/*", "database_roles/figures/roles/*/*",
    "credentials/max_age_days", "unused_credentials/figures/unused_days",  # settings
    "rejected_credentials/figures/max_failures_per_minute", "attestations/figures/interval_days",  # settings
    "system_state/*/*", "system_state/population", "system_state/figures/storage/*",  # of the process and the host
    "certificates/population", "certificates/*/*",  # files of the settings: there are none
    "software/population", "software/exceptions/count", "technologies/population", "technologies/exceptions/count",
    "not_assessed/population", "not_assessed/exceptions/count",  # sentences
)  # fmt: skip
"""Numbers that are no counts of what is stored: settings, the process, the host, and sentences of the report."""
