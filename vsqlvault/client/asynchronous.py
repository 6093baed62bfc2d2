"""The client for asyncio: each method is awaited."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import anyio
import httpx

from vsqlvault.client.base import Base, answer_of, broken_by
from vsqlvault.client.methods import AsyncCall, AsyncIterate, AsyncStream
from vsqlvault.client.requests import entries, logs, rules, service
from vsqlvault.client.retries import Attempts, Outcome
from vsqlvault.client.settings import Attempt
from vsqlvault.client.streams import AsyncByteStream
from vsqlvault.client.wire import Answer, Request

Result = TypeVar("Result")
Exchange = Callable[[httpx.Request], Awaitable[Answer]]


class _AsyncGroup:
    """Methods that belong together, on the connection of a vault."""

    def __init__(self, vault: AsyncVault) -> None:
        self._vault = vault

    async def send(self, request: Request[Result]) -> Result:
        """Send a request and return its result."""
        return await self._vault.send(request)

    def stream(self, request: Request[None]) -> AsyncByteStream:
        """Return the answer of a request as a stream."""
        return self._vault.stream(request)


class AsyncAccessPolicies(_AsyncGroup):
    """``vault.policies.access``."""

    put = AsyncCall(rules.put_access_policy)
    get = AsyncCall(rules.get_access_policy)
    delete = AsyncCall(rules.delete_access_policy)
    list = AsyncIterate(rules.list_access_policies)
    versions = AsyncIterate(rules.access_policy_versions)
    explain = AsyncCall(rules.explain)
    replay = AsyncCall(rules.replay)


class AsyncRetentionPolicies(_AsyncGroup):
    """``vault.policies.retention``."""

    put = AsyncCall(rules.put_retention_policy)
    get = AsyncCall(rules.get_retention_policy)
    list = AsyncIterate(rules.list_retention_policies)
    versions = AsyncIterate(rules.retention_policy_versions)


class AsyncPolicies(_AsyncGroup):
    """``vault.policies``."""

    def __init__(self, vault: AsyncVault) -> None:
        super().__init__(vault)
        self.access = AsyncAccessPolicies(vault)
        self.retention = AsyncRetentionPolicies(vault)

    diff = AsyncCall(rules.diff)


class AsyncHolds(_AsyncGroup):
    """``vault.holds``."""

    put = AsyncCall(rules.put_hold)
    get = AsyncCall(rules.get_hold)
    release = AsyncCall(rules.release_hold)
    list = AsyncIterate(rules.list_holds)
    entries = AsyncIterate(rules.held_entries)
    versions = AsyncIterate(rules.hold_versions)


class AsyncKeys(_AsyncGroup):
    """``vault.keys``."""

    create = AsyncCall(service.create_key)
    get = AsyncCall(service.get_key)
    revoke = AsyncCall(service.revoke_key)
    list = AsyncIterate(service.list_keys)


class AsyncVault(Base):
    """A vault. It may be used by several tasks of one event loop; close it, or use it in an ``async with`` statement."""

    _client: httpx.AsyncClient
    _sleep: Callable[[float], Any]

    put = AsyncCall(entries.put)
    get = AsyncCall(entries.get)
    update = AsyncCall(entries.update)
    head = AsyncCall(entries.head)
    delete = AsyncCall(entries.delete)
    list = AsyncIterate(entries.list_entries)
    access_log = AsyncIterate(logs.access_log)
    purge_log = AsyncIterate(logs.purge_log)
    export_access_log = AsyncStream(logs.export_access_log)
    export_purge_log = AsyncStream(logs.export_purge_log)
    evidence = AsyncStream(logs.evidence)
    key_refs = AsyncIterate(service.key_refs)
    sweep = AsyncCall(service.sweep)
    report = AsyncCall(service.report)
    controls = AsyncCall(service.controls)
    health = AsyncCall(service.health)
    attest = AsyncCall(service.attest)
    review_access = AsyncCall(service.review_access)
    receipt = AsyncCall(service.receipt)
    checkpoint = AsyncCall(service.checkpoint)
    verifier_key = AsyncCall(service.verifier_key)
    inclusion_proof = AsyncCall(service.inclusion_proof)
    consistency_proof = AsyncCall(service.consistency_proof)

    def _open(self, transport: Any, sleep: Callable[[float], Any] | None) -> None:
        self._client = httpx.AsyncClient(transport=transport, **self._settings.options())
        self._sleep = sleep or anyio.sleep
        self.policies = AsyncPolicies(self)
        self.holds = AsyncHolds(self)
        self.keys = AsyncKeys(self)

    async def __aenter__(self) -> AsyncVault:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, request: Request[Result]) -> Result:
        """Send a request, again where that is safe and can help, and return its result. Raises VaultError."""
        attempts: Attempts[Result] = self._attempts(request)
        return attempts.result(await self._carried_out(attempts, self._whole))

    def stream(self, request: Request[None]) -> AsyncByteStream:
        """Return the answer of a request as a stream."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[httpx.Response]:
            attempts: Attempts[None] = self._attempts(request)
            responses: list[httpx.Response] = []

            async def begun(sent: httpx.Request) -> Answer:
                response = await self._client.send(sent, stream=True)
                if response.is_success:
                    responses.append(response)
                    return answer_of(response, b"")
                try:
                    return answer_of(response, await response.aread())
                finally:
                    await response.aclose()

            attempts.success(await self._carried_out(attempts, begun))
            try:
                yield responses[0]
            finally:
                await responses[0].aclose()

        return AsyncByteStream(opened)

    async def _carried_out(self, attempts: Attempts[Any], exchange: Exchange) -> Outcome:
        """Return the outcome of the last attempt."""
        while True:
            secret = await self._asked()
            attempt = Attempt(attempts.request.method, attempts.request.route, attempts.number)
            started_at = time.monotonic()
            outcome = await self._once(attempts.request, secret, attempt, exchange)
            if attempts.is_refused(outcome) and attempts.renewed(is_new=await self._asked() != secret):
                self._tell(attempts, attempt, outcome, started_at, 0.0)
                continue
            pause = attempts.pause_after(outcome)
            self._tell(attempts, attempt, outcome, started_at, pause)
            if pause is None:
                return outcome
            await self._sleep(pause)

    async def _once(self, request: Request[Any], secret: str | None, attempt: Attempt, exchange: Exchange) -> Outcome:
        headers = self._headers(request, secret, attempt)
        url = self._settings.url + request.path
        try:
            return await exchange(
                self._client.build_request(request.method, url, headers=headers, content=request.body)
            )
        except httpx.RequestError as error:
            return broken_by(error)

    async def _whole(self, sent: httpx.Request) -> Answer:
        response = await self._client.send(sent)
        return answer_of(response, response.content)

    async def _asked(self) -> str | None:
        """Return the credential to use now."""
        secret = self._secret
        found = secret() if callable(secret) else secret
        return await found if inspect.isawaitable(found) else found
