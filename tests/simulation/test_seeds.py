"""Do the invariants hold in every world? Some worlds on every run, a thousand and more with --long."""

from __future__ import annotations

import os

import pytest

from tests.simulation.judge import judge
from tests.simulation.world import run

BATCH = 10


def batches(seeds: range) -> list[range]:
    return [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]


def check(seeds: range) -> None:
    for seed in seeds:
        wrong = judge(seed)
        assert not wrong, f"seed {seed}: {wrong}\nreplay it: python -m tests.simulation {seed}"


@pytest.mark.parametrize("seeds", batches(range(60)), ids=str)
def test_some_worlds(seeds: range) -> None:
    check(seeds)


@pytest.mark.long
@pytest.mark.parametrize("seeds", batches(range(60, int(os.environ.get("SMSD_SEEDS", "1200")))), ids=str)
def test_many_worlds(seeds: range) -> None:
    check(seeds)


def test_a_seed_tells_the_same_story_twice() -> None:
    assert run(7).trace == run(7).trace
