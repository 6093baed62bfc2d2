"""After a restored database: repeats revocations and legal holds that the restore undid, and names other lost changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import field

from vsqlvault.interfaces.storage import PolicySnapshot, Storage, VersionQuery
from vsqlvault.model.principal import Call
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.rule_documents import StoredRule, version_document
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.log.recorded_rules import (
    Document,
    RecordedRule,
    RecordedRules,
    RuleKind,
    digest_of,
    hold_of,
    is_deletion,
    is_same_rule,
    is_same_version,
)
from vsqlvault.service.roles import require_admin
from vsqlvault.service.rules.legal_holds import LegalHolds

REVOKED_BEFORE = "revoked before the database was restored"
HELD_BEFORE = "in force before the database was restored"
MAX_NAMED = 20
"""How many names the row of the confirmation has of each kind."""

Versions = Callable[[VersionQuery], Awaitable[Sequence[StoredRule]]]
Revoke = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True)
class LostChange:
    """A change in the rows that the restored database lacks, and that is not repeated.

    ``needs_decision``: what is in force now may allow more, or keep less, than before. An operator corrects it or accepts it.
    ``recorded``: the version of the rows; None if they have no content of it.
    """

    kind: RuleKind
    name: str
    what: str
    needs_decision: bool = False
    recorded: Document | None = None

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}: {self.what}"


@dataclass(slots=True)
class RepeatedRules:
    """The keys that were revoked again, the holds that were placed again, and the changes that were not repeated."""

    revoked: list[str] = field(default_factory=list)
    placed: list[str] = field(default_factory=list)
    lost: list[LostChange] = field(default_factory=list)

    @property
    def undecided(self) -> list[LostChange]:
        """The changes that an operator must correct or accept."""
        return [each for each in self.lost if each.needs_decision]

    def summary(self) -> Iterator[str]:
        """Yield what the row of a confirmation says about the rules."""
        accepted = [f"{each.kind.value} {each.name}" for each in self.undecided]
        for what, names in (
            ("keys revoked again", self.revoked),
            ("legal holds placed again", self.placed),
            ("accepted as restored", accepted),
        ):
            if names:
                more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
                yield f"{what}: {', '.join(names[:MAX_NAMED])}{more}"


class RestoredRules:
    """Compares the rules in force with those that the rows of an export describe."""

    def __init__(
        self, storage: Storage, queue: CommitQueue, policy_cache: PolicyCache, holds: LegalHolds, revoke: Revoke
    ) -> None:
        """``revoke``: revokes an API key, as ``ApiKeys.revoke`` does."""
        self._queue = queue
        self._policy_cache = policy_cache
        self._holds = holds
        self._revoke = revoke
        self._versions: dict[RuleKind, Versions] = {
            RuleKind.ACCESS_POLICY: storage.access_policy_versions,
            RuleKind.RETENTION_POLICY: storage.retention_policy_versions,
            RuleKind.LEGAL_HOLD: storage.legal_hold_versions,
        }

    async def repeat(self, call: Call, recorded: RecordedRules) -> RepeatedRules:
        """Revoke keys and place holds again, each with a row that says why, and find the other lost changes.

        A run that was interrupted can be repeated: what is as recorded is not changed again.

        Raises:
            RoleRequired, Unavailable. Completed changes remain.
        """
        require_admin(call)
        result = RepeatedRules()
        await self._keys(call, recorded, result)
        for (kind, name), rule in sorted(recorded.rules.items()):
            newest = await self._stored(kind, name)
            if not await self._has(kind, name, rule, newest):
                await self._lost(call, (kind, name), rule, newest, result)
        return result

    async def _keys(self, call: Call, recorded: RecordedRules, result: RepeatedRules) -> None:
        stored = (await self._policies()).api_keys
        for key_id, said in sorted(recorded.keys.items()):
            key, is_revoked = stored.get(key_id), bool(said.get("revoked_at"))
            if key is None and not is_revoked:
                what = f"of {said.get('app')}, was created after the backup, and is unknown now"
                result.lost.append(LostChange(RuleKind.API_KEY, key_id, what, recorded=said))
            elif key is not None and is_revoked and key.revoked_at is None:
                await self._revoke(call, key_id, why=REVOKED_BEFORE)
                result.revoked.append(key_id)

    async def _lost(
        self,
        call: Call,
        place: tuple[RuleKind, str],
        rule: RecordedRule,
        newest: Document | None,
        result: RepeatedRules,
    ) -> None:
        """Repeat a change that the database lacks, or name it."""
        kind, name = place
        if rule.digest is not None:
            what = "was changed after the backup; the export has only a hash of the change"
            result.lost.append(LostChange(kind, name, what, needs_decision=True))
            return
        said = rule.versions[rule.number]
        if kind is not RuleKind.LEGAL_HOLD:
            found = _of_policy(kind, name, rule, newest)
        elif said.get("state") == "released":
            is_held = newest is not None and newest["state"] == "active"
            what = "was released after the backup, and is in force again; it is not released again"
            found = LostChange(kind, name, what, recorded=said) if is_held else None
        elif newest is not None and newest["state"] == "active" and is_same_rule(said, newest):
            found = None
        else:
            found = await self._place(call, name, rule, newest)
            if found is None:
                result.placed.append(name)
        if found is not None:
            result.lost.append(found)

    async def _place(self, call: Call, name: str, rule: RecordedRule, newest: Document | None) -> LostChange | None:
        """Place a hold again, unless somebody has changed it since the restore. Return None if it is placed."""
        said = rule.versions[rule.number]
        if newest is not None and not _is_earlier(rule, newest):
            what = (
                f"was changed after the restore (version {newest['version']}); it is not placed again as in the export"
            )
            return LostChange(RuleKind.LEGAL_HOLD, name, what, needs_decision=True, recorded=said)
        try:
            hold = hold_of(said)
        except (ValueError, KeyError, TypeError):
            what = "cannot be placed again: its row cannot be read"
            return LostChange(RuleKind.LEGAL_HOLD, name, what, needs_decision=True, recorded=said)
        await self._holds.save(call, hold, held_since=hold.held_since, why=HELD_BEFORE)
        return None

    async def _has(self, kind: RuleKind, name: str, rule: RecordedRule, newest: Document | None) -> bool:
        """Whether the database has the newest recorded version, as its own newest version or an earlier one."""
        if newest is None:
            return False
        if rule.digest is not None:
            return digest_of({member: value for member, value in newest.items() if member != "dropped"}) == rule.digest
        if newest["version"] < rule.number:
            return False
        stored = newest if newest["version"] == rule.number else await self._stored(kind, name, rule.number)
        return stored is not None and is_same_version(rule.versions[rule.number], stored)

    async def _stored(self, kind: RuleKind, name: str, number: int | None = None) -> Document | None:
        """Return the newest version of a rule, or the one with a number."""
        before = None if number is None else number + 1
        for rule in await self._versions[kind](VersionQuery(name=name, limit=1, before=before)):
            return version_document(rule)
        return None

    async def _policies(self) -> PolicySnapshot:
        return await self._policy_cache.at((await self._queue.read()).revision)


def _is_earlier(rule: RecordedRule, stored: Document) -> bool:
    """Whether a stored version is an earlier one of the rows, or is older than all that they have."""
    number = stored["version"]
    if number in rule.versions:
        return is_same_version(rule.versions[number], stored)
    return bool(number < min(rule.versions))


def _of_policy(kind: RuleKind, name: str, rule: RecordedRule, newest: Document | None) -> LostChange | None:
    said = rule.versions[rule.number]
    is_gone = newest is None or is_deletion(newest)
    if is_deletion(said):
        what = "was deleted after the backup, and is there again"
        return None if is_gone else LostChange(kind, name, what, needs_decision=True)
    if newest is None or is_gone:
        return LostChange(kind, name, "was saved after the backup, and is gone", recorded=said)
    if is_same_rule(said, newest):
        return None
    what = f"the export has version {rule.number}, the vault has version {newest['version']} with other content"
    return LostChange(kind, name, what, needs_decision=True, recorded=said)
