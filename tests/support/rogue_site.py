"""A served vault with the rogue plugin of ``tests.support.rogue``."""

from __future__ import annotations

from pathlib import Path

from tests.support import rogue
from tests.support.plugins import installed
from tests.support.server import ADMIN, VaultServer, eventually
from vsqlvault.proof.note import SigningKey

SETTINGS = """
[access]
plugin_timeout_seconds = 0.3
[audit]
signing_key_env = "ROGUE_SIGNING_KEY"
checkpoint_interval_seconds = 0.2
[[export]]
name = "rogue"
kind = "rogue"
"""
SECONDS = 20.0
CALLERS = 3


class Site:
    """A served vault with the plugin, and the file that tells it what to do."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str | None = None,
        settings: str = "",
        block_seconds: float = rogue.BLOCK_SECONDS,
    ) -> None:
        plugins = directory / "plugins"
        plugins.mkdir()
        self._orders = directory / "orders"
        self.tell("nothing")
        variables = {
            **installed(plugins, "rogue", Path(rogue.__file__)),
            "ROGUE": str(self._orders),
            "ROGUE_BLOCK_SECONDS": str(block_seconds),
            "ROGUE_SIGNING_KEY": SigningKey("vault.example/rogue", bytes([9]) * 32).reveal(),
        }
        self.server = VaultServer(
            directory, settings=SETTINGS + settings, environment=variables, database_url=database_url
        )
        self.purged = 0

    def tell(self, where: str, how: str = "") -> None:
        self._orders.with_suffix(".reached").unlink(missing_ok=True)
        self._told = f"{where} {how}"
        self._orders.write_text(self._told, "utf-8")

    def was_reached(self) -> bool:
        """Whether the plugin came to the place of its orders; observers are called after the response."""
        reached = self._orders.with_suffix(".reached")
        return reached.exists() and reached.read_text("utf-8") == self._told

    def trace(self) -> set[str]:
        """Return the places of the storage that were reached since the last call."""
        traced = self._orders.with_suffix(".trace")
        found = set(traced.read_text("utf-8").split()) if traced.exists() else set()
        traced.write_text("", "utf-8")
        return found

    def start(self) -> Site:
        self.server.start()
        self.server.retention("card")
        self.server.retention("rogue", method="rogue")
        body = {"evaluator": "rogue"}
        assert self.server.call(ADMIN, "PUT", "/admin/access-policies/rogue", json_body=body).status == 201
        self.server.stored("payments", "card/good")
        self.server.stored("payments", "card/rogue", access_policy="rogue")
        self.server.stored(ADMIN, "rogue/two")
        return self

    def others_are_served(self) -> None:
        for _ in range(CALLERS):
            answer = self.server.call("payments", "GET", "/vault/card/good", seconds=SECONDS)
            assert (answer.status, answer.json["encrypted_value"]) == (200, "vault:v1:c2VjcmV0")
        assert self.server.call(None, "GET", "/health", seconds=SECONDS).status == 200

    def statuses_of_others(self) -> set[int]:
        """Make requests that may need what the plugin does badly, and return their statuses."""
        calls = [("payments", "/vault/card/good")] * CALLERS + [(None, "/health")]
        return {self.server.call(who, "GET", target, seconds=SECONDS).status for who, target in calls}

    def others_are_served_again(self) -> None:
        """Wait until nobody is refused any more."""
        eventually(lambda: self.statuses_of_others() == {200}, SECONDS)
        self.others_are_served()

    def ends_in_time(self) -> None:
        assert self.server.stop() == 0
