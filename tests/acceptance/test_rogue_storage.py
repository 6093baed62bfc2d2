"""A storage that does each of ten bad things, once, at each of its methods, costs only the requests that needed it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from pathlib import Path
from signal import SIGHUP, SIGTERM
from types import NoneType
from typing import get_args, get_type_hints

import pytest

from tests.support import rogue
from tests.support.rogue_site import SECONDS, Site
from tests.support.server import ADMIN, STOP_SECONDS, eventually
from vsqlvault.interfaces.storage import Storage
from vsqlvault.runtime.contained_storage import UNLIMITED

BAD_THINGS = [*rogue.RAISED, *rogue.OTHERS]
SETTINGS = """
[storage]
timeout_seconds = 1
slow_timeout_seconds = 1.5
"""
ANSWERED = {200, 201, 404, 409, 422}
"""What may be answered meanwhile, beside 503; 409 is that of a sweep, while the lease of one before it expires."""
REACHED_SECONDS = 150.0
Act = Callable[[Site], int]


def request(method: str, target: str, body: object = None, who: str = ADMIN) -> Act:
    def act(site: Site) -> int:
        site.purged += 1
        sent = {
            name: value.replace("#", str(site.purged)) if isinstance(value, str) else value
            for name, value in (body.items() if isinstance(body, dict) else ())
        }
        target_now = target.replace("#", str(site.purged))
        try:
            return site.server.call(who, method, target_now, json_body=sent or None, seconds=SECONDS).status
        except IncompleteRead:  # a stream that the server could not finish
            return 503

    return act


def hang_up(site: Site) -> int:
    site.server.signal(SIGHUP)
    return 200


def receipt(site: Site) -> int:
    """Purge an entry, and read the receipt of a purge."""
    for method, body in (("PUT", {"encrypted_value": "v"}), ("DELETE", None)):
        site.server.call("payments", method, "/vault/card/receipt", json_body=body, seconds=SECONDS)
    answer = site.server.call(ADMIN, "GET", "/admin/purge-log?limit=1", seconds=SECONDS)
    if answer.status != 200 or not (rows := answer.json["rows"]):
        return answer.status
    return site.server.call(ADMIN, "GET", f"/admin/purge-log/{rows[0]['id']}/receipt", seconds=SECONDS).status


def change_a_rule(site: Site) -> int:
    """Change a rule, and read by the changed rules."""
    status = request("PUT", "/admin/legal-holds/one", HOLD)(site)
    return max(status, request("GET", "/vault/card/good", who="payments")(site))


HOLD = {"case_reference": "1", "reason": "#", "selector": {"external_id": "held"}}
ACTS: dict[str, Act] = {
    "store": request("PUT", "/vault/card/new-#", {"encrypted_value": "v"}, "payments"),
    "replace": request("PUT", "/vault/card/written", {"encrypted_value": "v#"}, "payments"),
    "retrieve": request("GET", "/vault/card/good", who="payments"),
    "list": request("GET", "/vault/card", who="payments"),
    "purge": request("DELETE", "/vault/card/written", who="payments"),
    "key_refs": request("GET", "/admin/key-refs"),
    "access log": request("GET", "/admin/access-log?limit=2"),
    "purge log": request("GET", "/admin/purge-log?limit=2"),
    "receipt": receipt,
    "retention policy": request(
        "PUT",
        "/admin/retention-policies/card?dry_run=true",
        {"max_retention_days": 200, "purge_method": "crypto-shred"},
    ),
    "retention policy versions": request("GET", "/admin/retention-policies/card/versions"),
    "access policy versions": request("GET", "/admin/access-policies/rogue/versions"),
    "legal hold": change_a_rule,
    "legal hold versions": request("GET", "/admin/legal-holds/one/versions"),
    "held entries": request("GET", "/admin/legal-holds/one/entries"),
    "explain": request(
        "POST",
        "/admin/access-policies/explain",
        {"app": "payments", "operation": "retrieve", "purpose": "card", "external_id": "good"},
    ),
    "replay": request("POST", "/admin/access-policies/rogue/replay", {"evaluator": "rogue"}),
    "sweep": request("POST", "/admin/purge/sweep"),
    "attest": request("POST", "/admin/attestations"),
    "attestations": request("GET", "/admin/attestations"),
    "review access": request("POST", "/admin/access-reviews", {"statement": "all is needed"}),
    "access reviews": request("GET", "/admin/access-reviews"),
    "report": request("GET", "/compliance/report"),
    "evidence": request("GET", "/compliance/evidence"),
    "controls": request("GET", "/health/controls"),
    "health": request("GET", "/health"),
    "metrics": request("GET", "/metrics"),
    "checkpoint": request("GET", "/audit/checkpoint"),
    "tile": request("GET", "/audit/tile/0/000"),
    "entries tile": request("GET", "/audit/tile/entries/000"),
    "proof": request("GET", "/audit/proof/1"),
    "consistency": request("GET", "/audit/consistency?from=1&to=2"),
    "reload": hang_up,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("rogue-storage")
    database_url = f"rogue:///{directory / 'vault.db'}"
    site = Site(directory, database_url=database_url, settings=SETTINGS, block_seconds=1.7)
    site.trace()
    site.start()
    try:
        yield site
        site.ends_in_time()
        faults = [line for line in site.server.log_lines() if "Traceback" in line or "request failed" in line]
        assert not faults, faults[0][:3000]
    finally:
        site.server.kill()


@pytest.fixture(scope="module")
def acts(site: Site) -> dict[str, str]:
    """Return for each method the first act that reaches it. Background work may add others."""
    found: dict[str, str] = {}
    site.trace()
    for name, act in ACTS.items():
        eventually(lambda act=act: act(site) < 500)  # type: ignore[misc]  # a receipt needs a checkpoint
        for place in site.trace():
            found.setdefault(place.removeprefix("storage."), name)
    return found


def _may_be_none(method: str) -> bool:
    """Whether None is an answer of the protocol."""
    member = getattr(Storage, method)
    if isinstance(member, property):
        return False
    returned = get_type_hints(member)["return"]
    return returned is NoneType or NoneType in get_args(returned)


EVERY = 1 if os.environ.get("VSQLVAULT_TEST_ROGUE") == "all" else 61
"""Of the table every 61st cell is tried; VSQLVAULT_TEST_ROGUE=all tries all."""
CELLS = [
    (method, how)
    for row, method in enumerate(rogue.STORAGE_METHODS)
    for column, how in enumerate(BAD_THINGS)
    if (row + column * 2) % EVERY == 0 and not (how == "None" and _may_be_none(method))
]


@pytest.mark.parametrize(("method", "how"), CELLS)
def test_the_storage_costs_only_what_needs_it(site: Site, acts: dict[str, str], method: str, how: str) -> None:
    if method not in acts:
        pytest.skip("it is called when a server starts or ends")
    act = ACTS[acts[method]]
    if method in UNLIMITED and how in {"hang", "swallow cancellation"}:
        pytest.skip("it has no time limit")
    site.tell(f"storage.{method}", f"{how} once")
    with ThreadPoolExecutor(2) as pool:
        caller, others = pool.submit(act, site), pool.submit(site.statuses_of_others)
        statuses = {caller.result(), *others.result()}
        deadline = time.monotonic() + REACHED_SECONDS
        while not site.was_reached():
            assert time.monotonic() < deadline
            statuses.add(act(site))
            time.sleep(0.05)
    site.tell("nothing")
    assert statuses - {503} <= ANSWERED, statuses
    site.others_are_served_again()


def act_until_reached(site: Site, act: Act) -> None:
    """Repeat the act: the storage may have to be in a state, such as a checkpoint that covers a purge."""
    deadline = time.monotonic() + SECONDS
    while not site.was_reached() and time.monotonic() < deadline:
        act(site)
        time.sleep(0.05)


def site_at(directory: Path) -> Site:
    settings = (
        "[server]\ngraceful_timeout_seconds = 0.5\n[storage]\ntimeout_seconds = 0.5\nslow_timeout_seconds = 0.5\n"
    )
    return Site(directory, database_url=f"rogue:///{directory / 'vault.db'}", settings=settings)


@pytest.mark.parametrize("method", rogue.STORAGE_METHODS if EVERY == 1 else [])
def test_the_process_ends_in_time_while_the_storage_does_not_answer(
    tmp_path: Path, acts: dict[str, str], method: str
) -> None:
    site = site_at(tmp_path).start()
    site.tell(f"storage.{method}", "swallow cancellation")
    with ThreadPoolExecutor(1) as pool:
        try:
            if method in acts:
                pool.submit(act_until_reached, site, ACTS[acts[method]])
                eventually(site.was_reached, SECONDS)
            site.ends_in_time()
        finally:
            site.server.kill()


@pytest.mark.parametrize("method", [name for name in rogue.STORAGE_METHODS if EVERY == 1 or name == "migrate"])
def test_a_start_on_a_storage_that_does_not_answer_can_be_ended(tmp_path: Path, method: str) -> None:
    site = site_at(tmp_path)
    site.tell(f"storage.{method}", "swallow cancellation")
    with ThreadPoolExecutor(1) as pool:
        try:
            starting = pool.submit(site.server.start)
            eventually(lambda: site.was_reached() or starting.done(), SECONDS)
            site.server.signal(SIGTERM)
            eventually(lambda: site.server.exit_code() is not None, STOP_SECONDS)
            assert site.server.exit_code() in {0, 2}
            starting.exception(SECONDS)
        finally:
            site.server.kill()
