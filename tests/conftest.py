"""The PostgreSQL of the run, for every suite, and logging as each test expects it."""

import logging
from collections.abc import Iterator

import pytest

from tests.support.postgres import postgres, postgres_url, stoppable_postgres

__all__ = ["postgres", "postgres_url", "stoppable_postgres"]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets up logging: the next test must not find its levels."""
    loggers = [logging.getLogger(name) for name in (None, "vsqlvault", "vsqlvault_plugins")]
    levels = [logger.level for logger in loggers]
    handlers = list(loggers[0].handlers)
    yield
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
