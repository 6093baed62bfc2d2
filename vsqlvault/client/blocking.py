"""The client that waits for each answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import httpx

from vsqlvault.client.base import Base, answer_of, broken_by
from vsqlvault.client.errors import Unusable
from vsqlvault.client.methods import Call, Iterate, Stream
from vsqlvault.client.requests import entries, logs, rules, service
from vsqlvault.client.retries import Attempts, Outcome
from vsqlvault.client.settings import Attempt
from vsqlvault.client.streams import ByteStream
from vsqlvault.client.wire import Answer, Request

Result = TypeVar("Result")


class _Group:
    """Methods that belong together, on the connection of a vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def send(self, request: Request[Result]) -> Result:
        """Send a request and return its result."""
        return self._vault.send(request)

    def stream(self, request: Request[None]) -> ByteStream:
        """Return the answer of a request as a stream."""
        return self._vault.stream(request)


class AccessPolicies(_Group):
    """``vault.policies.access``."""

    put = Call(rules.put_access_policy)
    get = Call(rules.get_access_policy)
    delete = Call(rules.delete_access_policy)
    list = Iterate(rules.list_access_policies)
    versions = Iterate(rules.access_policy_versions)
    explain = Call(rules.explain)
    replay = Call(rules.replay)


class RetentionPolicies(_Group):
    """``vault.policies.retention``."""

    put = Call(rules.put_retention_policy)
    get = Call(rules.get_retention_policy)
    list = Iterate(rules.list_retention_policies)
    versions = Iterate(rules.retention_policy_versions)


class Policies(_Group):
    """``vault.policies``."""

    def __init__(self, vault: Vault) -> None:
        super().__init__(vault)
        self.access = AccessPolicies(vault)
        self.retention = RetentionPolicies(vault)

    diff = Call(rules.diff)


class Holds(_Group):
    """``vault.holds``."""

    put = Call(rules.put_hold)
    get = Call(rules.get_hold)
    release = Call(rules.release_hold)
    list = Iterate(rules.list_holds)
    entries = Iterate(rules.held_entries)
    versions = Iterate(rules.hold_versions)


class Keys(_Group):
    """``vault.keys``."""

    create = Call(service.create_key)
    get = Call(service.get_key)
    revoke = Call(service.revoke_key)
    list = Iterate(service.list_keys)


class Vault(Base):
    """A vault. It may be used by several threads; close it, or use it in a ``with`` statement."""

    _client: httpx.Client
    _sleep: Callable[[float], Any]

    put = Call(entries.put)
    get = Call(entries.get)
    update = Call(entries.update)
    head = Call(entries.head)
    delete = Call(entries.delete)
    list = Iterate(entries.list_entries)
    access_log = Iterate(logs.access_log)
    purge_log = Iterate(logs.purge_log)
    export_access_log = Stream(logs.export_access_log)
    export_purge_log = Stream(logs.export_purge_log)
    evidence = Stream(logs.evidence)
    key_refs = Iterate(service.key_refs)
    sweep = Call(service.sweep)
    report = Call(service.report)
    controls = Call(service.controls)
    health = Call(service.health)
    attest = Call(service.attest)
    review_access = Call(service.review_access)
    receipt = Call(service.receipt)
    checkpoint = Call(service.checkpoint)
    verifier_key = Call(service.verifier_key)
    inclusion_proof = Call(service.inclusion_proof)
    consistency_proof = Call(service.consistency_proof)

    def _open(self, transport: Any, sleep: Callable[[float], Any] | None) -> None:
        self._client = httpx.Client(transport=transport, **self._settings.options())
        self._sleep = sleep or time.sleep
        self.policies = Policies(self)
        self.holds = Holds(self)
        self.keys = Keys(self)

    def __enter__(self) -> Vault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, request: Request[Result]) -> Result:
        """Send a request, again where that is safe and can help, and return its result. Raises VaultError."""
        attempts: Attempts[Result] = self._attempts(request)
        return attempts.result(self._carried_out(attempts, self._whole))

    def stream(self, request: Request[None]) -> ByteStream:
        """Return the answer of a request as a stream."""

        @contextmanager
        def opened() -> Iterator[httpx.Response]:
            attempts: Attempts[None] = self._attempts(request)
            responses: list[httpx.Response] = []

            def begun(sent: httpx.Request) -> Answer:
                response = self._client.send(sent, stream=True)
                if response.is_success:
                    responses.append(response)
                    return answer_of(response, b"")
                try:
                    return answer_of(response, response.read())
                finally:
                    response.close()

            attempts.success(self._carried_out(attempts, begun))
            try:
                yield responses[0]
            finally:
                responses[0].close()

        return ByteStream(opened)

    def _carried_out(self, attempts: Attempts[Any], exchange: Callable[[httpx.Request], Answer]) -> Outcome:
        """Return the outcome of the last attempt."""
        while True:
            secret = self._asked()
            attempt = Attempt(attempts.request.method, attempts.request.route, attempts.number)
            started_at = time.monotonic()
            outcome = self._once(attempts.request, secret, attempt, exchange)
            if attempts.is_refused(outcome) and attempts.renewed(is_new=self._asked() != secret):
                self._tell(attempts, attempt, outcome, started_at, 0.0)
                continue
            pause = attempts.pause_after(outcome)
            self._tell(attempts, attempt, outcome, started_at, pause)
            if pause is None:
                return outcome
            self._sleep(pause)

    def _once(
        self, request: Request[Any], secret: str | None, attempt: Attempt, exchange: Callable[[httpx.Request], Answer]
    ) -> Outcome:
        headers = self._headers(request, secret, attempt)
        url = self._settings.url + request.path
        try:
            return exchange(self._client.build_request(request.method, url, headers=headers, content=request.body))
        except httpx.RequestError as error:
            return broken_by(error)

    def _whole(self, sent: httpx.Request) -> Answer:
        response = self._client.send(sent)
        return answer_of(response, response.content)

    def _asked(self) -> str | None:
        """Return the credential to use now."""
        secret = self._secret
        found = secret() if callable(secret) else secret
        if found is not None and not isinstance(found, str):
            raise Unusable("key, token: expected a function that returns a text; a coroutine works with AsyncVault")
        return found
