"""A short campaign on three Patroni nodes and two vaults: nothing acknowledged is lost, and the log never forks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fail_over_campaign import ANSWER_SECONDS, Campaign
from tests.support.patroni import Cluster, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with Cluster() as cluster:
        made = Campaign(tmp_path, cluster, seed=1)
        yield made
        made.close()


def test_a_crash_of_the_primary_a_cut_and_a_killed_vault_lose_nothing(campaign: Campaign) -> None:
    for fault in ("primary: postgres killed", "primary: cut from the vaults", "vault: killed"):
        campaign.run(fault, hold_seconds=1.0)
        campaign.check()
    assert campaign.recoveries
    assert campaign.acknowledged.slowest < ANSWER_SECONDS
    campaign.verify()
