"""Counts denied requests."""

from collections import Counter
from collections.abc import Sequence

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.observer import Observer
from vsqlvault.model.audit import AccessRecord, Outcome


class ExampleObserver(Observer):
    """Counts denials by reason. A row may be delivered again, with the same ``request_id``."""

    name = "example"

    def __init__(self) -> None:
        self.denials: Counter[str | None] = Counter()

    async def access(self, records: Sequence[AccessRecord]) -> None:
        """Count the denied ones."""
        self.denials.update(record.reason for record in records if record.outcome is Outcome.DENIED)


@hookimpl
def vault_observers() -> list[Observer]:
    """Offer the observer."""
    return [ExampleObserver()]
