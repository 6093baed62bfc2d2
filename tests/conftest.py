"""The PostgreSQL of the run, for every suite, logging as each test expects it, and the order of tests by a seed.

No generated example has a time limit: its duration says how busy the machine is.
"""

import gc
import importlib
import logging
import sys
from collections.abc import Callable, Generator, Iterator
from random import Random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.installed_plugins import plugins_read_once
from tests.support.postgres import postgres, postgres_url, stoppable_postgres
from vsqlvault import plugin_loader

__all__ = ["postgres", "postgres_url", "stoppable_postgres"]

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def is_valid_syntax(term: str, text: str) -> bool:
    """Check by the real module, which is imported on the first call: that takes four seconds, and few tests need it."""
    if sys.modules["rfc3987_syntax"] is LATER:
        del sys.modules["rfc3987_syntax"]
    return bool(importlib.import_module("rfc3987_syntax").is_valid_syntax(term, text))


LATER = ModuleType("rfc3987_syntax")
LATER.is_valid_syntax = is_valid_syntax  # type: ignore[attr-defined]
sys.modules.setdefault("rfc3987_syntax", LATER)
"""jsonschema imports it to check IRIs."""

YOUNG_OBJECTS = 10_000
"""As many new objects are there before those that are garbage are looked for."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep 16,000 tests and their modules out of the search for garbage: none of them is ever garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--random-order", type=int, metavar="SEED", help="shuffle modules, their classes and their tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle, before pytest brings those together that share a parameter of a fixture. Each worker has the same order.

    The blocks of a page of the documentation stay in their order: a reader follows it from top to bottom.
    """
    seed = config.getoption("--random-order")
    if seed is None:
        return
    places = {item: place for place, item in enumerate(items)}
    items.sort(key=lambda item: item.nodeid)  # so that the order rests on the seed alone
    keys: dict[str, float] = {item.nodeid: place for item, place in places.items() if not hasattr(item, "function")}
    random = Random(seed)
    for item in items:
        for parent in item.listchain():
            keys.setdefault(parent.nodeid, random.random())
    items.sort(key=lambda item: [keys[parent.nodeid] for parent in item.listchain()])


@pytest.fixture(scope="session")
def _read_plugins() -> Callable[..., Any]:
    return plugins_read_once()


@pytest.fixture(scope="module", autouse=True)
def _plugins_are_read_once(_read_plugins: Callable[..., Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugin_loader, "entry_points", _read_plugins)
        yield


LOGGERS = [logging.getLogger(name) for name in (None, "vsqlvault", "vsqlvault_plugins")]
LEVELS = [logger.level for logger in LOGGERS]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets up logging: the next test must not find its levels.

    The levels are those of the start: a fixture of a module or of the session may have set them before this one.
    """
    handlers = list(LOGGERS[0].handlers)
    yield
    LOGGERS[0].handlers[:] = handlers
    for logger, level in zip(LOGGERS, LEVELS, strict=True):
        logger.setLevel(level)
