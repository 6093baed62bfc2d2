"""PostgreSQL beside a model: batches of right and wrong writes, and after each step everything that can be asked."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.postgres import Databases
from vsqlvault.interfaces.storage import Storage
from vsqlvault.testing import StorageStateMachine
from vsqlvault.testing.storage.state_machine import BOUNDED
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage


def test_it_does_what_the_model_does(postgres: Databases) -> None:
    made: dict[Path, str] = {}

    class Machine(StorageStateMachine):
        async def open_storage(self, directory: Path) -> Storage:
            if directory not in made:
                made[directory] = postgres.create_database()
            storage = await PostgresStorage.open(postgres.url(made[directory]), pool_size=2)
            await storage.migrate()
            return storage

    try:
        run_state_machine_as_test(Machine, settings=settings(BOUNDED, max_examples=12, stateful_step_count=12))
    finally:
        for name in made.values():
            postgres.drop_database(name)
    assert made
