"""Faults at random on three Patroni nodes, etcd and two vaults under load, and what they may never do.

``python -m tests.support.fail_over_campaign --schedules 40 --seed 1`` runs a campaign and prints what it measured.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fixtures import MARKER, SIGNING_KEY
from tests.support.patroni import Cluster, Etcd, Node, missing
from tests.support.server import VaultServer

CLIENTS = 8
ANSWER_SECONDS = 20.0
"""By then every request of a vault that runs has its answer: 2 s to connect, 5 s to commit, and again after a conflict."""

START_SECONDS = 120.0
"""Beside the clients and a cluster on few cores a vault starts slowly."""

SETTINGS = "[audit]\nsigning_key_file = 'signing.key'\ncheckpoint_interval_seconds = 0.5\n"


@dataclass
class Acknowledged:
    """What clients were given answers to."""

    puts: set[str] = field(default_factory=set)
    deletes: set[str] = field(default_factory=set)
    requests: set[str] = field(default_factory=set)
    put_times: list[float] = field(default_factory=list)
    slowest: float = 0.0
    slowest_answer: str = ""
    unanswered: list[str] = field(default_factory=list)
    failures: int = 0


class Campaign:
    """A cluster, two vaults and eight clients; ``run`` breaks something and heals it, ``check`` compares."""

    def __init__(self, directory: Path, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.acknowledged = Acknowledged()
        self.recoveries: list[float] = []
        """Seconds from each promotion to the first PUT acknowledged after it."""
        self.database_recoveries: list[float] = []
        """Seconds from each promotion until a statement of psql was committed on a standby too."""
        self.checkpoints: dict[str, int] = {}
        self.disturbed: set[int] = set()
        """The vaults that are killed or stopped now: they owe no answer."""
        self._directory = directory
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._maybe_deleted: set[str] = set()
        self.vaults: list[VaultServer] = []
        for number in range(2):
            self.vaults.append(self._vault(number))
        self.vaults[0].retention("card")
        work = [lambda number=number: self._client(number) for number in range(CLIENTS)] + [self._collect]
        self._threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS + 5)
        for vault in self.vaults:
            with suppress(ProcessLookupError, AssertionError):
                vault.signal(signal.SIGCONT)
            vault.kill()

    def faults(self) -> dict[str, Callable[[], Callable[[], None]]]:
        """Return what can be broken, by name; breaking it returns what heals it."""
        primary = self.cluster.primary() or self.cluster.nodes[0]
        standby = self.random.choice([node for node in self.cluster.nodes if node is not primary])
        member, vault = self.random.choice(self.cluster.etcd), self.random.randrange(2)
        found: dict[str, Callable[[], Callable[[], None]]] = {}
        for role, node in (("primary", primary), ("standby", standby)):
            found |= {
                f"{role}: postgres killed": lambda node=node: self._killed_postgres(node),
                f"{role}: node killed": lambda node=node: self._killed_node(node),
                f"{role}: node stopped": lambda node=node: self._stopped_node(node),
                f"{role}: cut from the vaults": lambda node=node: self._network(node, "cut", "vaults"),
                f"{role}: hung for the vaults": lambda node=node: self._network(node, "hang", "vaults"),
                f"{role}: cut from its peers": lambda node=node: self._network(node, "cut", "peers"),
                f"{role}: cut from etcd": lambda node=node: self._network(node, "cut", "etcd"),
            }
        return found | {
            "etcd: killed": lambda: self._killed_etcd(member),
            "etcd: stopped": lambda: self._stopped_etcd(member),
            "vault: killed": lambda: self._killed_vault(vault),
            "vault: stopped": lambda: self._stopped_vault(vault),
        }

    def run(self, name: str | None = None, *, hold_seconds: float = 4.0) -> str:
        """Break one thing, hold it for a while, heal it, and return once all serve again. ``name`` begins it."""
        faults = self.faults()
        if name not in faults:
            name = self.random.choice([each for each in sorted(faults) if each.startswith(name or "")])
        before = self._timeline()
        broken_at = time.monotonic()
        heal = faults[name]()
        self._watch_promotion(before, broken_at + hold_seconds, name)
        heal()
        self.cluster.wait_until_whole(180)
        healed_at = time.monotonic()
        self.cluster.wait(lambda: self._served_since(healed_at), 60)
        return name

    def check(self) -> None:
        """Compare what was acknowledged with what is there. Raises AssertionError."""
        with self._lock:
            puts, deletes = set(self.acknowledged.puts), set(self.acknowledged.deletes)
            requests, unanswered = set(self.acknowledged.requests), list(self.acknowledged.unanswered)
        primary = self.cluster.wait_for_primary()
        there = set(self.cluster.sql("SELECT external_id FROM vault.entries", primary, "vault").split())
        rows = set(self.cluster.sql("SELECT request_id FROM vault.access_log", primary, "vault").split())
        assert not (lost := puts - deletes - self._maybe_deleted - there), (
            f"acknowledged PUTs are lost: {sorted(lost)[:5]}"
        )
        assert not (back := deletes & there), f"acknowledged DELETEs are undone: {sorted(back)[:5]}"
        assert not (gone := requests - rows), f"audit rows of acknowledged requests are lost: {sorted(gone)[:5]}"
        assert not unanswered, f"requests without an answer: {unanswered[:5]}"
        for vault in self.vaults:
            assert not [line for line in vault.log_lines() if "QUARANTINE" in line], "a false quarantine"

    def verify(self) -> str:
        """Check every checkpoint that was ever served against the log as it is now."""
        kept = self._directory / "served.jsonl"
        lines = [json.dumps({"size": size, "note": note}) for note, size in self.checkpoints.items()]
        kept.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        vault = self.vaults[0]
        command = [sys.executable, "-m", "vsqlvault", "verify", "--config", str(vault.directory / "vault.toml")]
        done = subprocess.run(
            [*command, "--vkey", str(SIGNING_KEY.verifier), "--checkpoint", str(kept)],
            cwd=vault.directory, capture_output=True, text=True, timeout=300, check=False,
            env={"VSQL_VAULT_API_KEY": vault.admin_key, "PATH": ""},
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def _vault(self, number: int) -> VaultServer:
        place = self._directory / str(number)
        place.mkdir()
        (place / "signing.key").write_text(SIGNING_KEY.reveal(), "utf-8")
        (place / "signing.key").chmod(0o600)
        anchor = f'[plugins.file-anchor]\npath = "{self._directory / "anchor.jsonl"}"\ninterval_seconds = 1\n'
        apps = self.vaults[0].apps if self.vaults else None
        vault = VaultServer(
            place,
            settings=SETTINGS + anchor,
            database_url=self.cluster.url,
            apps=apps,
            start_seconds=START_SECONDS,
        )
        return vault.start()

    def _timeline(self) -> int:
        return int(self.cluster.wait_for_primary().state()["timeline"])

    def _watch_promotion(self, before: int, until: float, name: str) -> None:
        """Hold the fault, at least until it has led to a promotion where it must, and measure how soon writes go on."""
        promoted_at: float | None = None
        must = name in {
            "primary: postgres killed",
            "primary: node killed",
            "primary: node stopped",
            "primary: cut from etcd",
        }
        while time.monotonic() < until or (must and promoted_at is None and time.monotonic() < until + 60):
            if promoted_at is None:
                for node in self.cluster.nodes:
                    state = node.state()
                    if state.get("role") == "primary" and state.get("timeline", 0) > before:
                        promoted_at = time.monotonic()
            time.sleep(0.1)
        if promoted_at is not None:
            since = promoted_at
            self.cluster.sql("CREATE TABLE IF NOT EXISTS probe (number int); INSERT INTO probe VALUES (1)")
            self.database_recoveries.append(time.monotonic() - since)
            self.cluster.wait(lambda: self._served_since(since), 30)
            with self._lock:
                self.recoveries.append(next(at for at in self.acknowledged.put_times if at >= since) - since)

    def _served_since(self, at: float) -> bool:
        with self._lock:
            return bool(self.acknowledged.put_times) and self.acknowledged.put_times[-1] >= at

    def _client(self, number: int) -> None:
        chance = random.Random(number)
        mine: list[str] = []
        for count in range(10**9):
            if self._ending.is_set():
                return
            which = chance.randrange(2)
            if mine and chance.random() < 0.2:
                name = mine.pop(chance.randrange(len(mine)))
                self._maybe_deleted.add(name)  # it may be carried out even if its answer is lost
                self._do(which, "DELETE", name)
            elif mine and chance.random() < 0.3:
                self._do(which, "GET", chance.choice(mine))
            else:
                name = f"c{number}-{count}"
                if self._do(which, "PUT", name) in {200, 201}:
                    mine.append(name)
            time.sleep(0.01)

    _maybe_deleted: set[str] = set()

    def _do(self, which: int, method: str, name: str) -> int:
        vault, began = self.vaults[which], time.monotonic()
        body = {"encrypted_value": MARKER} if method == "PUT" else None
        was_disturbed = which in self.disturbed
        try:
            answer = vault.call("payments", method, f"/vault/card/{name}", json_body=body, seconds=ANSWER_SECONDS)
        except (OSError, AssertionError, ValueError, IndexError) as error:
            is_late = time.monotonic() - began >= ANSWER_SECONDS
            with self._lock:
                if is_late and not was_disturbed and which not in self.disturbed:
                    self.acknowledged.unanswered.append(f"{method} {name}: {error!r}")
            time.sleep(0.1)
            return 0
        now = time.monotonic()
        with self._lock:
            if which not in self.disturbed and not was_disturbed and now - began > self.acknowledged.slowest:
                self.acknowledged.slowest = now - began
                self.acknowledged.slowest_answer = f"{method} {answer.status} {answer.slug or ''}"
            if answer.status >= 500:
                self.acknowledged.failures += 1
                return answer.status
            self.acknowledged.requests.add(answer.request_id)
            if method == "PUT" and answer.status in {200, 201}:
                self.acknowledged.puts.add(name)
                self.acknowledged.put_times.append(now)
            elif method == "DELETE" and answer.status == 200:
                self.acknowledged.deletes.add(name)
        return answer.status

    def _collect(self) -> None:
        """Ask both vaults for their checkpoint all the time."""
        while not self._ending.is_set():
            for vault in self.vaults:
                with suppress(OSError, AssertionError, ValueError, IndexError):
                    answer = vault.call("auditor", "GET", "/audit/checkpoint", seconds=5)
                    if answer.status == 200:
                        note = answer.body.decode()
                        self.checkpoints[note] = int(note.splitlines()[1])
            time.sleep(0.2)

    def _killed_postgres(self, node: Node) -> Callable[[], None]:
        node.kill_postgres()
        return lambda: None  # Patroni starts it again

    def _killed_node(self, node: Node) -> Callable[[], None]:
        node.kill()
        return node.start

    def _stopped_node(self, node: Node) -> Callable[[], None]:
        node.stop()
        return node.go_on

    def _network(self, node: Node, mode: str, side: str) -> Callable[[], None]:
        sides = {"vaults": [node.proxy], "peers": [node.peer_proxy], "etcd": node.etcd_proxies}
        for proxy in sides[side]:
            proxy.set(mode)  # type: ignore[arg-type]

        def heal() -> None:
            for proxy in sides[side]:
                proxy.set("pass")

        return heal

    def _killed_etcd(self, member: Etcd) -> Callable[[], None]:
        member.kill()
        return lambda: self.cluster.start_etcd(member)

    def _stopped_etcd(self, member: Etcd) -> Callable[[], None]:
        member.signal(signal.SIGSTOP)
        return lambda: member.signal(signal.SIGCONT)

    def _killed_vault(self, which: int) -> Callable[[], None]:
        self.disturbed.add(which)
        self.vaults[which].kill()

        def heal() -> None:
            self.vaults[which].start()
            self.disturbed.discard(which)

        return heal

    def _stopped_vault(self, which: int) -> Callable[[], None]:
        self.disturbed.add(which)
        self.vaults[which].signal(signal.SIGSTOP)

        def heal() -> None:
            self.vaults[which].signal(signal.SIGCONT)
            time.sleep(1)
            self.disturbed.discard(which)

        return heal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default="", help="how the names of the faults begin, such as primary")
    options = parser.parse_args()
    if why := missing():
        raise SystemExit(why)
    began = time.monotonic()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vsqlvault-campaign-")))
        cluster = stack.enter_context(Cluster())
        campaign = Campaign(directory, cluster, options.seed)
        stack.callback(campaign.close)
        for number in range(1, options.schedules + 1):
            name = campaign.run(options.faults)
            campaign.check()
            told = campaign.acknowledged
            print(
                f"{time.monotonic() - began:6.0f} s  {number:2} {name:32} PUT {len(told.puts):6} DELETE {len(told.deletes):5}"
                f" rows {len(told.requests):6} 5xx {told.failures:5} slowest {told.slowest:4.1f} s ({told.slowest_answer})"
                f" recoveries {[round(each, 1) for each in campaign.recoveries]}"
                f" of the database {[round(each, 1) for each in campaign.database_recoveries]}",
                flush=True,
            )
        campaign.verify()
        print(f"{len(campaign.checkpoints)} checkpoints served, all continued by the last log; nothing lost")


if __name__ == "__main__":
    main()
