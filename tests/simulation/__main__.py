"""python -m tests.simulation [SEED | --seeds A-B] [-v] [--jobs N]

One SEED is replayed with a readable trace; --seeds runs many (default 0-999) and ends with a line "N passed, M failed".
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator

from tests.simulation.history import History
from tests.simulation.invariants import broken
from tests.simulation.judge import judge
from tests.simulation.world import run


def replay(seed: int) -> int:
    """The story of one seed, and what is wrong with it."""
    history = run(seed)
    tell(history)
    wrong = broken(history)
    for name, sentences in wrong.items():
        print(f"{name} is broken:")
        for sentence in sentences[:20]:
            print(f"    {sentence}")
    print("failed" if wrong else "passed")
    return 1 if wrong else 0


def tell(history: History) -> None:
    """The trace by true time, calls with what became of them."""
    ends = [
        (call.end_us, f"  call {call.n} ends: {call.answer}{' (taken)' if call.taken else ''}")
        for call in history.calls
        if call.end_us is not None
    ]
    for at_us, what in sorted([*history.trace, *ends], key=lambda entry: entry[0]):
        print(f"{at_us / 1e6:14.6f}  {what}")


def many(seeds: range, jobs: int, *, verbose: bool) -> int:
    """Run them all, in `jobs` processes."""
    began, failed = time.monotonic(), 0
    for seed, wrong in judged(seeds, jobs):
        if wrong:
            failed += 1
            print(f"seed {seed}: {wrong}" if verbose else f"seed {seed}: {', '.join(wrong)}")
            print(f"    replay it: python -m tests.simulation {seed}", flush=True)
        elif verbose:
            print(f"seed {seed}: passed", flush=True)
    print(f"{len(seeds)} seeds in {time.monotonic() - began:.1f} s")
    print(f"{len(seeds) - failed} passed, {failed} failed")
    return 1 if failed else 0


def judged(seeds: range, jobs: int) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """Each seed and what it breaks, in order."""
    if jobs == 1:
        yield from zip(seeds, map(judge, seeds), strict=True)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from zip(seeds, pool.imap(judge, seeds, chunksize=8), strict=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", help="replay this one")
    parser.add_argument("--seeds", default="0-999", help="A-B, both included")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-v", "--verbose", action="store_true")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        return replay(chosen.seed)
    first, _, last = chosen.seeds.partition("-")
    return many(range(int(first), int(last or first) + 1), chosen.jobs, verbose=chosen.verbose)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
