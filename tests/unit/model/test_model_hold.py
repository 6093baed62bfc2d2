"""Selectors: what fits is held, what does not is not."""

from __future__ import annotations

import pytest

from vsqlvault.model.hold import HoldIndex, HoldSelector
from vsqlvault.testing import T0, a_legal_hold, an_entry

METADATA = '{"a":1,"b":{"c":[1,2],"d":null},"f":1.5,"t":true}'
ENTRY = an_entry(metadata=METADATA)


@pytest.mark.parametrize(
    "selector",
    [
        HoldSelector(purpose="card"),
        HoldSelector(external_id="pay-1"),
        HoldSelector(owner_app="payments"),
        HoldSelector("card", "pay-1", "payments", METADATA),
        HoldSelector(metadata='{"a":1}'),
        HoldSelector(metadata='{"t":true}'),
        HoldSelector(metadata='{"b":{"c":[1,2],"d":null}}'),
        HoldSelector(metadata='{"f":1.5,"a":1}'),
    ],
    ids=repr,
)
def test_what_is_given_and_fits_is_held(selector) -> None:
    assert selector.fits(ENTRY)


@pytest.mark.parametrize(
    "selector",
    [
        HoldSelector(purpose="ach"),
        HoldSelector(external_id="pay-10"),
        HoldSelector(owner_app="Payments"),
        HoldSelector("card", "pay-1", "payments", '{"a":2}'),
        HoldSelector("card", "pay-1", "shop"),
        HoldSelector(metadata='{"a":true}'),
        HoldSelector(metadata='{"t":1}'),
        HoldSelector(metadata='{"a":"1"}'),
        HoldSelector(metadata='{"b":{"c":[1,2]}}'),
        HoldSelector(metadata='{"b":{"c":[2,1],"d":null}}'),
        HoldSelector(metadata='{"nothing":null}'),
        HoldSelector(metadata='{"a":1,"z":1}'),
    ],
    ids=repr,
)
def test_all_that_is_given_must_fit(selector) -> None:
    assert not selector.fits(ENTRY)


def test_a_selector_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        HoldSelector()


def test_many_holds_may_keep_one_entry_and_released_ones_keep_nothing() -> None:
    holds = [
        a_legal_hold("b", selector=HoldSelector(owner_app="payments")),
        a_legal_hold("a", selector=HoldSelector(purpose="card")),
        a_legal_hold("z", selector=HoldSelector(external_id="pay-1")),
        a_legal_hold("other-id", selector=HoldSelector(external_id="pay-2")),
        a_legal_hold("same-id-elsewhere", selector=HoldSelector("ach", "pay-1")),
        a_legal_hold("released", released_by="jane", released_at=T0),
    ]
    assert [hold.name for hold in HoldIndex(holds).on(ENTRY)] == ["z", "a", "b"]
    assert [hold.name for hold in HoldIndex(holds).on(an_entry("pay-2", owner_app="shop"))] == ["other-id", "a"]
    assert HoldIndex([]).on(ENTRY) == ()
