"""The PostgreSQL of the run, for every suite, logging as each test expects it, and the order of tests by a seed.

No generated example has a time limit: its duration says how busy the machine is.
"""

import logging
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import postgres, postgres_url, stoppable_postgres

__all__ = ["postgres", "postgres_url", "stoppable_postgres"]

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--random-order", type=int, metavar="SEED", help="shuffle modules, their classes and their tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle, before pytest brings those together that share a parameter of a fixture. Each worker has the same order."""
    seed = config.getoption("--random-order")
    if seed is None:
        return
    items.sort(key=lambda item: item.nodeid)  # so that the order rests on the seed alone
    keys: dict[str, float] = {}
    random = Random(seed)
    for item in items:
        for parent in item.listchain():
            keys.setdefault(parent.nodeid, random.random())
    items.sort(key=lambda item: [keys[parent.nodeid] for parent in item.listchain()])


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
