"""What happens in the world of a seed, and when?

A script is a list of acts by true time: texts are submitted (in bursts, with keys that repeat, times, priorities,
pins), operators cancel, retry, pause, resume and suppress, receipts prove, the weather of a provider turns, clocks are
stepped, the disk fills, a commit fails, the configuration is changed and read again, the daemon crashes or is
restarted, the machine reboots. What an act meets is decided when it happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.simulation.carrier import CALM, Weather
from tests.simulation.config import SECOND_US, World, slowest_us

MINUTE_US = 60 * SECOND_US

STORMS: tuple[dict[str, int], ...] = (
    {"taken": 60, "refused": 5, "throttled": 5, "deferred": 10, "unreached": 10, "lost answer": 5, "lost call": 5},
    {"taken": 50, "lost answer": 25, "lost call": 15, "garbled": 5, "slow": 5},
    {"taken": 20, "throttled": 60, "deferred": 20},
    {"unreached": 100},
    {"deferred": 100},
    {"lost call": 50, "lost answer": 50},
    {"taken": 80, "unauthorized": 20},
    {"taken": 50, "slow": 50},
    {"taken": 70, "opted out": 20, "unowned": 10},
    {"taken": 70, "suspect": 30},
    {"suspect": 100},
    {"taken": 60, "throttled": 10, "deferred": 10, "opted out": 5, "lost answer": 10, "unreached": 5},
    CALM,
)


@dataclass(slots=True)
class Act:
    """One thing that happens."""

    at_us: int
    what: str
    amount: int = 0
    """Milliseconds, a count, or nothing, as the act needs."""


OPERATORS = (
    ("cancel", 6),
    ("retry", 6),
    ("pause", 4),
    ("resume", 6),
    ("probe", 6),
    ("replay", 6),
    ("reload", 4),
    ("receipt", 8),
    ("suppress", 1),
    ("lift", 2),
)
CALAMITIES = (("crash", 3), ("restart", 2), ("full", 2), ("commit", 2), ("busy", 2), ("reads", 2))


def write(random: Random, world: World) -> tuple[list[Act], int]:
    """The acts in order, and when the last of them is over."""
    texts = random.randint(5, 60)
    pace_us = slowest_us(world)
    horizon = max(texts * pace_us * 2, random.choice([1, 5, 40]) * MINUTE_US)
    acts = _bursts(random, texts, horizon)
    acts += _some(random, horizon, random.randint(4, 35), OPERATORS)
    acts += [Act(random.randrange(horizon), "weather") for _ in range(random.randint(1, 4) * len(world.providers))]
    if world.crash_ready:
        acts += _some(random, horizon, random.randint(1, 6), CALAMITIES)
    for _ in range(random.choice([0, 0, 1, 2])):
        span = random.choice([1_000, 60_000, 3_600_000, 7_200_000])
        ahead = world.steps_forward and random.random() < 0.5
        acts.append(Act(random.randrange(horizon), "step", span if ahead else -span))
    return sorted(acts, key=lambda act: act.at_us), horizon


GOVERNING = (("reschedule", 6), ("delete", 3), ("cancel", 3), ("probe", 6), ("retry", 3), ("step", 4))
"""What happens more where messages are held back."""


def govern(random: Random, world: World, horizon: int) -> list[Act]:
    """More acts for a world with limits."""
    acts = _some(random, horizon, random.randint(2, 20), GOVERNING)
    for act in acts:
        if act.what == "step":
            act.amount = random.choice([1_000, 60_000, 1_800_000, 10_800_000])
            act.amount *= 1 if world.steps_forward and random.random() < 0.5 else -1
    return acts


def _bursts(random: Random, texts: int, horizon: int) -> list[Act]:
    acts: list[Act] = []
    while texts > 0:
        size = min(texts, random.choice([1, 1, 3, 10, 30, 60]))
        acts.append(Act(random.randrange(horizon), "submit", size))
        texts -= size
    return acts


def _some(random: Random, horizon: int, count: int, kinds: tuple[tuple[str, int], ...]) -> list[Act]:
    names = random.choices([name for name, _ in kinds], [weight for _, weight in kinds], k=count)
    return [Act(random.randrange(horizon), name, random.choice([100, 2_000, 30_000, 600_000])) for name in names]


def turn(random: Random) -> Weather:
    """The weather turns."""
    return Weather(
        fates=dict(random.choice(STORMS)),
        latency_ms=random.choice([(1, 20), (50, 400), (500, 1_900), (1_500, 6_000)]),
        lookups_fail=random.choice([0.0, 0.0, 0.3, 1.0]),
    )
