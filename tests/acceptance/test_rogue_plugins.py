"""A plugin that does each of ten bad things, at each method of each kind of object and each hook, costs only its own part."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGHUP

import pytest

from tests.support import rogue
from tests.support.rogue_site import SECONDS, Site
from tests.support.server import ADMIN, eventually
from tests.support.wire import Answer

BAD_THINGS = [*rogue.RAISED, *rogue.OTHERS]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("rogue")).start()
    try:
        yield site
        site.ends_in_time()
        lines = [line for line in site.server.log_lines() if "Exception in callback plainly(" not in line]  # of its own
        faults = [line for line in lines if "Traceback" in line or "request failed" in line]
        assert not faults, faults[0][:2000]
    finally:
        site.server.kill()


def badge(site: Site) -> Answer:
    return site.server.call(None, "GET", "/vault/card/good", headers={"X-Rogue": "1"}, seconds=SECONDS)


def retrieve(site: Site) -> Answer:
    return site.server.call("payments", "GET", "/vault/card/rogue", seconds=SECONDS)


def save_policy(site: Site) -> Answer:
    body = {"evaluator": "rogue", "description": f"{site.purged}"}
    return site.server.call(ADMIN, "PUT", "/admin/access-policies/rogue-too", json_body=body, seconds=SECONDS)


def replace_rogue(site: Site) -> Answer:
    """Replace a version under the rogue method's policy."""
    body = {"encrypted_value": f"vault:v1:{site.purged}"}
    return site.server.call(ADMIN, "PUT", "/vault/rogue/two", json_body=body, seconds=SECONDS)


def read(target: str) -> Callable[[Site], Answer]:
    return lambda site: site.server.call(ADMIN, "GET", target, seconds=SECONDS)


def store(site: Site) -> Answer:
    return site.server.put("payments", "card/written", value=f"vault:v1:{site.purged}")


def hang_up(site: Site) -> Answer:
    site.server.signal(SIGHUP)
    return store(site)


WRITTEN = {200, 201}
DENIED = {401, 503}
TABLE: dict[str, tuple[Callable[[Site], Answer], set[int]]] = {
    "authenticator.authenticate": (badge, DENIED),
    "authenticator.credentials": (read("/metrics"), {200}),
    "authenticator.reload": (hang_up, WRITTEN),
    "evaluator.evaluate": (retrieve, {503}),
    "evaluator.check": (save_policy, {*WRITTEN, 503}),
    "section.write": (read("/compliance/report"), {200}),
    "anchor.failure": (read("/metrics"), {200}),
    "anchor.keep": (store, WRITTEN),
    "control.check": (read("/health/controls"), {200}),
    "observer.access": (store, WRITTEN),
    "observer.purges": (store, WRITTEN),
    "observer.checkpoints": (store, WRITTEN),
    "method.purged": (replace_rogue, WRITTEN),
    "sink.deliver": (store, WRITTEN),
    "request_observer.answered": (store, WRITTEN),
    "task.step": (store, WRITTEN),
    "callback.call": (store, WRITTEN),
}
"""How each method is reached, and what may be answered then; a replacing PUT makes rows of both logs, and a checkpoint.

``anchor.newest`` is called at start: ``tests/unit/test_rogue_hooks.py`` has it.
"""


RETRIED = {"observer.access", "observer.purges", "observer.checkpoints", "method.purged", "sink.deliver"}
"""After a failure these are called again after a pause of seconds. Only the whole table waits until each bad thing happened."""

REACHED_SECONDS = 60.0

SHARE = 1 if os.environ.get("VSQLVAULT_TEST_ROGUE") == "all" else 3
"""Of the table every third cell is tried, each row and each column among them; VSQLVAULT_TEST_ROGUE=all tries all."""
CELLS = [
    (where, how)
    for row, where in enumerate(TABLE)
    for column, how in enumerate(BAD_THINGS)
    if (row + column) % SHARE == 0
]


@pytest.mark.parametrize(("where", "how"), CELLS)
def test_other_callers_are_served(site: Site, where: str, how: str) -> None:
    act, expected = TABLE[where]
    site.purged += 1
    site.tell(where, how)
    try:
        with ThreadPoolExecutor(2) as pool:
            rogue_caller = pool.submit(act, site)
            others = pool.submit(site.others_are_served)
            answer = rogue_caller.result()
            others.result()
        assert (where in RETRIED and SHARE > 1) or eventually(site.was_reached, REACHED_SECONDS)
    finally:
        site.tell("nothing")
    unhurt = {200, 403} if how == "mutate" else set()  # it got views, and could change nothing
    assert answer.status in expected | unhurt, answer
    site.others_are_served()


@pytest.mark.parametrize("how", BAD_THINGS)
def test_a_purge_method_that_plans_badly_keeps_the_entry(site: Site, how: str) -> None:
    site.server.call(ADMIN, "PUT", "/vault/rogue/one", json_body={"encrypted_value": "v"})
    site.tell("method.plan", how)
    try:
        answer = site.server.call(ADMIN, "DELETE", "/vault/rogue/one", seconds=SECONDS)
    finally:
        site.tell("nothing")
    if how == "mutate":  # it got views, and could change nothing
        assert answer.status == 200, answer
        return
    assert answer.status == 503, answer
    assert site.server.call(ADMIN, "GET", "/vault/rogue/one").status == 200
    site.others_are_served()


@pytest.mark.parametrize(
    "where", ["evaluator.evaluate", "authenticator.authenticate", "observer.access", "section.write"]
)
@pytest.mark.parametrize("how", ["hang", "swallow cancellation"])
def test_the_process_ends_in_time_while_a_plugin_does_not_answer(tmp_path: Path, where: str, how: str) -> None:
    site = Site(tmp_path).start()
    act, _ = TABLE[where]
    site.tell(where, how)
    with ThreadPoolExecutor(1) as pool:
        try:
            pool.submit(act, site)
            site.server.wait_for_line(lambda line: line.get("message") in {"plugin failed", "Vault API is running"})
            site.ends_in_time()
        finally:
            site.server.kill()


@pytest.mark.parametrize("how", BAD_THINGS)
def test_a_shutdown_that_goes_wrong_ends_in_time(tmp_path: Path, how: str) -> None:
    site = Site(tmp_path).start()
    site.tell("hook.vault_shutdown", how)
    try:
        site.ends_in_time()
    finally:
        site.server.kill()
