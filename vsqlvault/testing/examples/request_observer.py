"""Counts slow requests."""

from collections import Counter

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.request_observer import AnsweredRequest, RequestObserver

SLOW_SECONDS = 0.25


class ExampleRequestObserver(RequestObserver):
    """Counts slow requests by route."""

    name = "example"

    def __init__(self) -> None:
        self.slow: Counter[str] = Counter()

    def answered(self, request: AnsweredRequest) -> None:
        """Count it, if it took long."""
        if request.seconds > SLOW_SECONDS:
            self.slow[request.route] += 1


@hookimpl
def vault_request_observers() -> list[RequestObserver]:
    """Offer the observer."""
    return [ExampleRequestObserver()]
