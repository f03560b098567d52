"""Is a seed good or bad? In a module of its own, so that other processes can be asked as well."""

from __future__ import annotations

from tests.simulation.invariants import broken
from tests.simulation.loop import DeadlockError, LivelockError
from tests.simulation.world import SOUND, Parts, Run, run


def judge(seed: int, parts: Parts = SOUND, story: type[Run] = Run) -> dict[str, list[str]]:
    """What a seed breaks: invariant -> sentences. A loop that stands still or spins is broken too."""
    try:
        return broken(run(seed, parts, story))
    except (DeadlockError, LivelockError) as error:
        return {type(error).__name__: [str(error)]}
