"""The PostgreSQL of the run, for every suite; it starts with the first test that asks for it."""

from tests.support.postgres import postgres, postgres_url, stoppable_postgres

__all__ = ["postgres", "postgres_url", "stoppable_postgres"]
