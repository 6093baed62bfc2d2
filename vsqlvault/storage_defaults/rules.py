"""Policies, API keys and legal holds, over items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from vsqlvault.errors import StorageUnavailable, Unavailable
from vsqlvault.interfaces.storage import PolicySnapshot, Read, RulesUnreadable, VersionQuery
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.storage_defaults.basic import ItemRange
from vsqlvault.storage_defaults.codec import decode
from vsqlvault.storage_defaults.lowering import ACCESS_POLICY, API_KEY, LEGAL_HOLD, RETENTION_POLICY, version_name
from vsqlvault.storage_defaults.required import MAX_ATTEMPTS, PAGE, RequiredStorage

_TABLES = {
    ACCESS_POLICY: "access_policies",
    RETENTION_POLICY: "retention_policies",
    API_KEY: "api_keys",
    LEGAL_HOLD: "legal_holds",
}
Rule = TypeVar("Rule", AccessPolicy, RetentionPolicy, ApiKeyRecord, LegalHold)


class RuleDefaults(RequiredStorage):
    """Derives the policy snapshot, and the versions of every rule."""

    async def policy_snapshot(self) -> PolicySnapshot:
        """See ``Storage.policy_snapshot``. It is read again if a rule changes meanwhile."""
        for _ in range(MAX_ATTEMPTS):
            before, damaged = await self._revision(), list[tuple[str, str]]()
            access = await self._newest(ACCESS_POLICY, AccessPolicy, damaged)
            retention = await self._newest(RETENTION_POLICY, RetentionPolicy, damaged)
            api_keys = await self._newest(API_KEY, ApiKeyRecord, damaged)
            holds = await self._newest(LEGAL_HOLD, LegalHold, damaged)
            if before != await self._revision():
                continue
            snapshot = PolicySnapshot(
                before,
                {name: policy for name, policy in access.items() if not policy.dropped},
                retention,
                {name: policy.version for name, policy in access.items()},
                api_keys,
                holds,
            )
            if damaged:
                raise Unavailable("a stored rule cannot be decoded") from RulesUnreadable(snapshot, damaged)
            return snapshot
        raise StorageUnavailable("the rules changed during every read of them")

    async def access_policy_versions(self, query: VersionQuery) -> Sequence[AccessPolicy]:
        """See ``Storage.access_policy_versions``."""
        return await self._versions(ACCESS_POLICY, AccessPolicy, query)

    async def retention_policy_versions(self, query: VersionQuery) -> Sequence[RetentionPolicy]:
        """See ``Storage.retention_policy_versions``."""
        return await self._versions(RETENTION_POLICY, RetentionPolicy, query)

    async def legal_hold_versions(self, query: VersionQuery) -> Sequence[LegalHold]:
        """See ``Storage.legal_hold_versions``."""
        return await self._versions(LEGAL_HOLD, LegalHold, query)

    async def _revision(self) -> int:
        (snapshot,) = await self.read([Read()])
        return snapshot.revision

    async def _newest(self, table: str, kind: type[Rule], damaged: list[tuple[str, str]]) -> dict[str, Rule]:
        found: dict[str, Rule] = {}
        async for item in self.all_items(ItemRange(table=table, limit=PAGE)):
            try:
                found[item.name.decode()] = decode(kind, item.value)
            except Unavailable:
                damaged.append((_TABLES[table], await self._key_of(table, item.name)))
        return found

    async def _key_of(self, table: str, name: bytes) -> str:
        """Return the name and the newest version of a rule that cannot be decoded."""
        newest = await self.item_range(
            ItemRange(table=f"{table}-version", first=name + b"\0", until=name + b"\1", limit=1, descending=True)
        )
        version = int.from_bytes(newest[0].name[len(name) + 1 :], "big") if newest else 0
        return f"{name.decode(errors='replace')} v{version}"

    async def _versions(self, table: str, kind: type[Rule], query: VersionQuery) -> list[Rule]:
        until = version_name(query.name, query.before) if query.before is not None else query.name.encode() + b"\1"
        page = await self.item_range(
            ItemRange(
                table=f"{table}-version",
                first=query.name.encode() + b"\0",
                until=until,
                limit=query.limit,
                descending=True,
            )
        )
        return [decode(kind, item.value) for item in page]
