"""Samples: drawn again by hand as docs/evidence.md says, the same each time, and from all there are."""

from __future__ import annotations

import hashlib

import pytest

from vsqlvault.proof.sample import choose, draw

IDS = [hashlib.sha256(b"id %d" % number).hexdigest()[:32] for number in range(60)]
SEEDS = [hashlib.sha256(b"seed %d" % number).digest() for number in range(50)]


def by_hand(ids: list[str], seed: bytes, size: int) -> list[str]:
    """Draw as the page says, with nothing of the vault's."""
    drawn: list[str] = []
    for number in range(min(size, len(ids))):
        text = b"vsqlvault-sample-v1\n" + seed + number.to_bytes(8, "big")
        falls_on = hashlib.sha256(text).hexdigest()[:32]
        left = sorted(set(ids) - set(drawn))
        drawn.append(next((each for each in left if each >= falls_on), left[0]))
    return drawn


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.hex()[:8])
def test_anybody_can_draw_again(seed: bytes) -> None:
    sample = choose(IDS, seed, 25)
    assert sample == by_hand(IDS, seed, 25)
    assert len(set(sample)) == 25


def test_another_seed_draws_others_and_none_is_out_of_reach() -> None:
    samples = [frozenset(choose(IDS, seed, 25)) for seed in SEEDS]
    assert len(set(samples)) == len(SEEDS)
    assert frozenset().union(*samples) == frozenset(IDS)


@pytest.mark.parametrize("count", [0, 1, 24, 25])
def test_where_there_are_no_more_all_are_drawn(count: int) -> None:
    assert sorted(choose(IDS[:count], SEEDS[0], 25)) == sorted(IDS[:count])


def test_their_order_does_not_matter() -> None:
    assert choose(reversed(IDS), SEEDS[0], 25) == choose(IDS, SEEDS[0], 25)


def test_a_worked_example() -> None:
    assert draw(bytes(32), 0) == hashlib.sha256(b"vsqlvault-sample-v1\n" + bytes(40)).hexdigest()[:32]
