"""Every way to the end of an entry, met by every state an entry can be in, under every purge method.

All entries are made first; then each way is gone once, and what it did to its own entries is written down before the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.fixtures import MARKER, NewDatabase
from tests.support.server import ADMIN, VaultServer

METHODS = {"card": "physical-delete", "cold": "crypto-shred", "aged": "retention-expire"}
STATES = ("live", "expired", "held", "expired-and-held", "shredded", "counted-out")
WAYS = ("delete", "put", "sweep", "shorten", "release")
OWNER = "archive"
DAYS = 10


@dataclass(frozen=True)
class Outcome:
    """What became of one entry: the answer, where there was one; its row; and the reasons of its rows in the purge log."""

    status: int | None
    remains: str
    reasons: tuple[str, ...] = ()


@dataclass
class Found:
    """Outcomes by way, purpose and state; and what the sweeps said of themselves."""

    outcomes: dict[tuple[str, str, str], Outcome] = field(default_factory=dict)
    sweeps: dict[str, Any] = field(default_factory=dict)


KEPT = Outcome(None, "value")
UNTOUCHED_SHRED = Outcome(None, "zeros", ("requested",))


def swept(purpose: str) -> Outcome:
    """Return what a sweep makes of what has expired."""
    reason = "retention-policy" if purpose == "aged" else "expired"
    return Outcome(None, "zeros" if purpose == "cold" else "nothing", (reason,))


def expected(way: str, purpose: str, state: str) -> Outcome:
    """The whole table."""
    shreds = purpose == "cold"
    end = "zeros" if shreds else "nothing"
    if way == "delete":
        return {
            "live": Outcome(200, end, ("requested",)),
            "expired": Outcome(410, "value"),
            "held": Outcome(423, "value"),
            "expired-and-held": Outcome(410, "value"),
            "shredded": Outcome(410, "zeros", ("requested",)),
            "counted-out": Outcome(200, end, ("requested",)),
        }[state]
    if way == "put":
        return {
            "live": Outcome(200, "new value", ("replaced",)),
            # Where the method retires ids, this one is as good as retired. A hold on it comes first.
            "expired": Outcome(409, "value") if shreds else Outcome(201, "new value", ("expired",)),
            "held": Outcome(423, "value"),
            "expired-and-held": Outcome(423, "value"),
            "shredded": Outcome(409, "zeros", ("requested",)),
            "counted-out": Outcome(200, "new value", ("replaced",)),
        }[state]
    gone = {
        "sweep": {"expired"},
        "shorten": {"live", "expired", "counted-out"},
        "release": set(STATES) - {"shredded"},
    }[way]
    if state == "shredded":
        return UNTOUCHED_SHRED
    return swept(purpose) if state in gone else KEPT


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[Found]:
    directory = tmp_path_factory.mktemp("ways")
    server = VaultServer(directory, settings="[purge]\nsweep_batch = 4\n", database_url=new_database(directory))
    server.start()
    try:
        populate(server)
        yield go_every_way(server)
        assert server.stop() == 0
        server.assert_log_is_clean([MARKER])
    finally:
        server.kill()


def populate(server: VaultServer) -> None:
    """Make every entry that is needed, then turn back the clock of those that are to be old or expired."""
    once = {"allowed_apps": None, "max_retrievals": 1}
    server.access_policy("once", store={}, retrieve=once, purge={"allowed_apps": ["@owner"]})
    for purpose in METHODS:
        server.retention(purpose, method="crypto-shred")
        for way in WAYS:
            server.stored(OWNER, f"{purpose}/{way}-shredded", MARKER)
            assert server.delete(OWNER, f"{purpose}/{way}-shredded").status == 200
    for purpose, method in METHODS.items():
        server.retention(purpose, method=method)
        for way in WAYS:
            for state in STATES:
                if state != "shredded":
                    metadata = {"case": 17} if "held" in state else {}
                    policy = {"access_policy": "once"} if state == "counted-out" else {}
                    server.stored(OWNER, f"{purpose}/{way}-{state}", MARKER, metadata=metadata, **policy)
            assert server.get(OWNER, f"{purpose}/{way}-counted-out").status == 200
            assert server.get(OWNER, f"{purpose}/{way}-counted-out").status == 403
    hold = {"case_reference": "17", "reason": "Litigation", "selector": {"metadata": {"case": 17}}}
    assert server.call(ADMIN, "PUT", "/admin/legal-holds/case-17", json_body=hold).status == 201
    assert server.stop() == 0
    micros = DAYS * 86_400_000_000
    server.query(
        sqlite="UPDATE entries SET expires_at = updated_at + 1 WHERE external_id LIKE '%expired%'",
        postgresql="UPDATE vault.entries SET expires_at = updated_at + interval '1 microsecond' "
        "WHERE external_id LIKE '%expired%'",
    )
    server.query(
        sqlite=f"UPDATE entries SET created_at = created_at - {micros} WHERE external_id GLOB '[sr][he]*-*'",
        postgresql=f"UPDATE vault.entries SET created_at = created_at - interval '{DAYS} days' "
        "WHERE external_id LIKE 'shorten-%' OR external_id LIKE 'release-%'",
    )
    server.start()


def go_every_way(server: VaultServer) -> Found:
    found = Found()

    def write_down(way: str, statuses: dict[tuple[str, str], int] | None = None) -> None:
        rows = server.purge_rows("")
        remaining = values(server)
        for purpose in METHODS:
            for state in STATES:
                name = f"{way}-{state}"
                reasons = [row["reason"] for row in rows if (row["purpose"], row["external_id"]) == (purpose, name)]
                status = (statuses or {}).get((purpose, state))
                remains = remaining.get((purpose, name), "nothing")
                found.outcomes[way, purpose, state] = Outcome(status, remains, tuple(reasons))

    each = [(purpose, state) for purpose in METHODS for state in STATES]
    write_down("delete", {(p, s): server.delete(OWNER, f"{p}/delete-{s}").status for p, s in each})
    write_down("put", {(p, s): server.put(OWNER, f"{p}/put-{s}", "new value").status for p, s in each})
    found.sweeps["sweep"] = server.call(ADMIN, "POST", "/admin/purge/sweep").json
    write_down("sweep")
    for purpose, method in METHODS.items():
        server.retention(purpose, method=method, days=DAYS - 1, ttl=1)
    found.sweeps["shorten"] = server.call(ADMIN, "POST", "/admin/purge/sweep").json
    write_down("shorten")
    assert server.call(ADMIN, "DELETE", "/admin/legal-holds/case-17").status == 200
    found.sweeps["release"] = server.call(ADMIN, "POST", "/admin/purge/sweep").json
    write_down("release")
    return found


def values(server: VaultServer) -> dict[tuple[str, str], str]:
    """Return what the storage holds of each entry, past the vault."""
    rows = server.query(
        sqlite="SELECT purpose, external_id, encrypted_value FROM entries",
        postgresql="SELECT purpose, external_id, encrypted_value FROM vault.entries",
    )
    known = {MARKER.encode(): "value", b"new value": "new value", bytes(len(MARKER)): "zeros"}
    return {(row[0], row[1]): known[bytes(row[2])] for row in rows}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("purpose", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_each_way_does_to_each_state_exactly_this(found: Found, way: str, purpose: str, state: str) -> None:
    assert found.outcomes[way, purpose, state] == expected(way, purpose, state)


def test_the_sweeps_counted_what_they_kept_for_the_hold(found: Found) -> None:
    counts = {way: (sweep["held"], sweep["failed"]) for way, sweep in found.sweeps.items()}
    expired_and_held = len(METHODS) * len(WAYS)
    held_and_old = len(METHODS) * len({"shorten", "release"})
    assert counts == {
        "sweep": (expired_and_held, 0),
        "shorten": (expired_and_held + held_and_old, 0),
        "release": (0, 0),
    }


def test_what_was_purged_has_one_row_each(found: Found) -> None:
    assert all(len(outcome.reasons) <= 1 for outcome in found.outcomes.values())
