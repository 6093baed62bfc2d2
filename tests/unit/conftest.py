"""Coroutine tests on a loop of their own, and vaults put together from real parts."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import SIGNING_KEY
from tests.support.sqlite_files import lay_migrated
from vsqlvault import plugin_loader as plugin_manager
from vsqlvault import runtime
from vsqlvault.config import load_settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.principal import Call, Role
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.runtime.tuning import DEFAULT_TUNING, Tuning
from vsqlvault.service.entries.requests import Preconditions, StoreRequest, StoreResult
from vsqlvault.service.vault import Vault
from vsqlvault.testing import T0, FaultyStorage, a_call, a_retention_policy
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

TIME_LIMIT_SECONDS = 60


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test; whatever hangs fails."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    runner: asyncio.Runner = pyfuncitem.funcargs["runner"]
    runner.run(asyncio.wait_for(pyfuncitem.obj(**wanted), TIME_LIMIT_SECONDS))
    return True


@pytest.fixture(autouse=True)
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = T0

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **span: float) -> datetime:
        self.at += timedelta(**span)
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass(frozen=True)
class FakeDistribution:
    name: str
    version: str = "1.0"


@dataclass(frozen=True)
class FakeEntryPoint:
    """An entry point that loads an object made by a test, or raises it."""

    name: str
    plugin: Any
    dist: FakeDistribution | None = FakeDistribution("acme-plugins")

    @property
    def value(self) -> str:
        return f"{self.dist.name if self.dist else 'nobody'}.{self.name}"

    def load(self) -> Any:
        if isinstance(self.plugin, BaseException):
            raise self.plugin
        return self.plugin


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install plugins beside the built-in ones: objects by name, or entry points."""

    def put(*points: Any, **plugins: Any) -> None:
        found = [*entry_points(group="vsqlvault.plugins"), *points]
        found += [FakeEntryPoint(name.replace("_", "-"), plugin) for name, plugin in plugins.items()]
        monkeypatch.setattr(plugin_manager, "entry_points", lambda group: found if group == "vsqlvault.plugins" else [])

    return put


def offering(hook: str, *offers: Any) -> Any:
    """Return a plugin that offers these objects under ``hook``."""

    def implementation() -> list[Any]:
        return list(offers)

    plugin = type("Plugin", (), {})()
    setattr(plugin, hook, hookimpl(specname=hook)(implementation))
    return plugin


@pytest.fixture(name="offering")
def _offering() -> Callable[..., Any]:
    return offering


@pytest.fixture
def make_vault(
    runner: asyncio.Runner, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Awaitable[Vault]]]:
    """Return a function that opens a vault on this test's file and clock; its storage can be made to fail."""
    stack = AsyncExitStack()
    lay_migrated(tmp_path / "vault.db")

    async def open_storage(_: Any, **__: bool) -> FaultyStorage:
        return FaultyStorage(await SqliteStorage.open(tmp_path / "vault.db", clock))

    monkeypatch.setattr(runtime.lifecycle, "open_storage", open_storage)

    async def make(tuning: Tuning = DEFAULT_TUNING, **environment: str) -> Vault:
        settings = load_settings(None, {f"VSQL_VAULT_{name.upper()}": text for name, text in environment.items()})
        return await stack.enter_async_context(runtime.open_vault(settings, tuning=tuning))

    yield make
    runner.run(asyncio.wait_for(stack.aclose(), TIME_LIMIT_SECONDS))


class Scene:
    """A vault with a retention policy for ``card``, its storage, its clock, and who calls."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self.vault = vault
        self.clock = clock
        self.storage: FaultyStorage = vault.storage  # type: ignore[assignment]
        self.admin = a_call("vault-admin", Role.ADMIN)
        self.owner = a_call("payments", identity="jane")
        self.other = a_call("shop")

    async def retain(self, purpose: str = "card", **fields: Any) -> None:
        await self.vault.rules.policies.save_retention_policy(self.admin, a_retention_policy(purpose, **fields))

    async def store(
        self, external_id: str = "pay-1", *, call: Call | None = None, purpose: str = "card", **wanted: Any
    ) -> StoreResult:
        return await self.vault.entries.store(call or self.owner, EntryKey(purpose, external_id), a_wish(**wanted))

    async def purge(self, external_id: str = "pay-1", *, call: Call | None = None) -> PurgeRecord:
        return await self.vault.entries.purge(call or self.owner, EntryKey("card", external_id), Preconditions())

    async def go_to(self, at: datetime) -> None:
        """Let time pass as it does while a vault runs: the clock is seen all the while."""
        self.clock.at = at
        await self.storage.inner.raise_mark(at)

    async def access_rows(self, **equals: str | int) -> list[AccessRecord]:
        rows = await self.storage.inner.access_log(LogQuery(limit=10_000, oldest_first=True, equals=equals))
        return [row.record for row in rows]

    async def purge_rows(self, **equals: str | int) -> list[PurgeRecord]:
        rows = await self.storage.inner.purge_log(LogQuery(limit=10_000, oldest_first=True, equals=equals))
        return [row.record for row in rows]

    async def last_row(self) -> AccessRecord:
        return (await self.access_rows())[-1]


def a_wish(value: bytes = b"cipher", **fields: Any) -> StoreRequest:
    made: dict[str, Any] = {
        "encoding": ValueEncoding.UTF_8,
        "algorithm_hint": "AES-256-GCM",
        "key_ref": "k1",
        "metadata": "{}",
        "expires_at": None,
        "access_policy": "owner-only",
    }
    return StoreRequest(value, **made | fields)


@pytest.fixture(name="a_wish")
def _a_wish() -> Callable[..., StoreRequest]:
    return a_wish


@pytest.fixture
def scene(runner: asyncio.Runner, make_vault: Callable[..., Awaitable[Vault]], clock: Clock) -> Scene:
    return runner.run(make_scene(make_vault, clock))


async def make_scene(make_vault: Callable[..., Awaitable[Vault]], clock: Clock, **options: Any) -> Scene:
    scene = Scene(await make_vault(**options), clock)
    await scene.retain()
    return scene


@pytest.fixture
def open_scene(make_vault: Callable[..., Awaitable[Vault]], clock: Clock) -> Callable[..., Awaitable[Scene]]:
    """Return a function that opens a scene, once a test has installed what it needs."""

    async def make(**options: Any) -> Scene:
        return await make_scene(make_vault, clock, **options)

    return make


@pytest.fixture
def signed(
    open_scene: Callable[..., Awaitable[Scene]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Awaitable[Scene]]:
    """Return a function that opens a scene whose log is signed with ``SIGNING_KEY``."""
    monkeypatch.setenv("KEY", SIGNING_KEY.reveal())

    async def opened(**options: Any) -> Scene:
        return await open_scene(audit__signing_key_env="KEY", **options)

    return opened
