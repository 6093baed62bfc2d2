"""A vault that runs beside a plain test function, and a client for it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from vsqlvault.http.app import build_app
from vsqlvault.http.application import already_open
from vsqlvault.model.principal import Role
from vsqlvault.service.vault import Vault
from vsqlvault.testing.faults import FaultyStorage
from vsqlvault.testing.samples import a_call, a_retention_policy
from vsqlvault.testing.vaults import a_vault, settings_for

TIME_LIMIT_SECONDS = 60.0
PURPOSE = "card"
ROLES: Mapping[str, tuple[str, ...]] = {"vault-admin": ("admin",), "auditor": ("auditor",), "payments": (), "shop": ()}
"""The apps of a running vault, each with its own key and every purpose."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """A response of the vault."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed as JSON."""
        return json.loads(self.body)


class RunningVault:
    """A vault on its own loop, which runs only during calls of ``run`` and of its client.

    ``storage`` is the vault's storage. It forwards all calls until it is made to fail (``storage.arm``).
    """

    def __init__(self, runner: asyncio.Runner, vault: Vault) -> None:
        self._runner = runner
        self.vault = vault
        self.storage = cast("FaultyStorage", vault.storage)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return the result of the coroutine, within a minute."""
        return self._runner.run(_in_time(work))


class VaultClient:
    """Makes requests to a running vault, without a network."""

    def __init__(self, running: RunningVault, app: Any) -> None:
        self._running = running
        self._client = app.test_client(use_cookies=False)

    def request(
        self,
        method: str,
        path: str,
        *,
        app: str | None = "payments",
        headers: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> Answer:
        """Return the response to one request with the key of ``app``, or without a key (None)."""
        sent = dict(headers or {})
        if app is not None:
            sent["X-Vault-Key"] = key_of(app)
        body = {} if json is None else {"json": json}
        return self._running.run(self._answer(method, path, sent, body))

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        response = await self._client.open(path, method=method, headers=headers, **body)
        return Answer(response.status_code, dict(response.headers), await response.get_data(as_text=False))


def key_of(app: str) -> str:
    """Return the API key of one of the apps of a running vault, for tests only."""
    return f"vsk_key-for-tests-of-{app}"


@contextmanager
def running_vault(
    directory: Path, *, plugins: Sequence[object] = (), settings: Mapping[str, Any] | None = None
) -> Iterator[tuple[RunningVault, VaultClient]]:
    """Run a vault on SQLite in ``directory`` for the length of the block, with a retention policy for ``card``."""
    keys = [
        {
            "app": app,
            "key_sha256": hashlib.sha256(key_of(app).encode("ascii")).hexdigest(),
            "purposes": ["*"],
            "roles": roles,
        }
        for app, roles in ROLES.items()
    ]
    tree = dict(settings or {})
    usual = {
        "api_key_env": None,
        "api_keys": keys,
        "max_failures_per_minute": 0,
    }  # tests cause many rejections in a short time
    tree["auth"] = {**usual, **tree.get("auth", {})}
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> tuple[Vault, Any]:
            opened = a_vault(directory, plugins=plugins, settings=tree, wrap=cast("Any", FaultyStorage))
            vault = await stack.enter_async_context(opened)
            admin = a_call("vault-admin", Role.ADMIN)
            await vault.rules.policies.save_retention_policy(admin, a_retention_policy(PURPOSE))
            app = build_app(settings_for(directory, plugins=plugins, extra=tree), lambda: already_open(vault))
            await app.startup()
            stack.push_async_callback(app.shutdown)
            return vault, app

        try:
            vault, app = runner.run(_in_time(begin()))
            running = RunningVault(runner, vault)
            yield running, VaultClient(running, app)
        finally:
            runner.run(_in_time(stack.aclose()))


async def _in_time(work: Coroutine[Any, Any, Result]) -> Result:
    return await asyncio.wait_for(work, TIME_LIMIT_SECONDS)
