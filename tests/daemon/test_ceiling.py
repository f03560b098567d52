"""Is the provider's ceiling kept, and used, as the provider itself sees it?

The stand-in notes when the last byte of each request came in. In no window of the configured length may there be more
arrivals than the rate allows, also not across a restart; and while a backlog waits at least 98 % of it must be used.
The quick form has a window of 5 s, because that is the shortest whose pad is as large (20 ms) as a minute's.
"""

from __future__ import annotations

import signal
import statistics
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest

from tests.daemon.harness import Carrier, Site, until

USED = 0.98
USED_IN_HASTE = 0.9
"""Of a usual gap in the quick form: a machine that others share takes more than 2 % away in most seconds."""


@dataclass(frozen=True)
class Case:
    rate: str
    limit: int
    window_s: float
    backlog: int
    burst: int = 1


BURSTS = Case("500/5s", 500, 5.0, 700, burst=100)
"""With bursts, so that a restart that forgot the window is seen; they make the share that is used meaningless."""
EVEN = Case("500/5s", 500, 5.0, 600)
ASKED = Case("600/min", 600, 60.0, 2_000)


def arrivals(carrier: Carrier) -> list[float]:
    """Seconds of CLOCK_MONOTONIC, in order."""
    return [call["at_ns"] / 1e9 for call in carrier.calls()]


def fullest(times: list[float], window_s: float) -> int:
    """The most arrivals in any window of that length, its start included and its end not."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def reached(carrier: Carrier, sends: int) -> bool:
    return carrier.stats()["sends"] >= sends


def use(times: list[float], case: Case) -> float:
    """The share of the ceiling that was used between the first and the last of these arrivals."""
    allowed = (times[-1] - times[0]) * case.limit / case.window_s
    return (len(times) - 1) / allowed


def usual_use(times: list[float], case: Case) -> float:
    """The same between two usual arrivals: half of them were closer. What a busy machine takes away at times, even if
    it is a third of every second, is no fault of the daemon; what it loses by itself, it loses with every call."""
    gap_s = statistics.median(later - at for at, later in pairwise(times))
    return case.window_s / case.limit / gap_s


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(BURSTS, id="bursts"),
        pytest.param(EVEN, id="even"),
        pytest.param(ASKED, id="600 a minute", marks=pytest.mark.long),
    ],
)
def test_the_ceiling_holds_in_every_window_and_is_used_also_over_restarts(site: Site, case: Case) -> None:
    carrier = site.carrier("--latency-ms", "20")
    site.configure(carrier.url, rate=case.rate, burst=case.burst)
    site.start()
    with site.client() as client:
        client.send_many(case.backlog)
    patience_s = 3 * case.backlog / case.limit * case.window_s
    restarts: list[int] = []
    for part, end in enumerate((signal.SIGTERM, signal.SIGKILL), 1):
        wanted = case.backlog * part // 3
        until(partial(reached, carrier, wanted), f"{wanted} are sent", patience_s)
        site.signal(end)
        site.wait()
        restarts.append(carrier.stats()["sends"])
        site.start()
    site.settled(patience_s)
    times = arrivals(carrier)
    assert carrier.stats()["again"] == 0
    assert carrier.stats()["taken"] == case.backlog
    assert fullest(times, case.window_s) <= case.limit
    for first, last in pairwise((0, *restarts, len(times))):
        check_use(times[first:last], case)


def check_use(times: list[float], case: Case) -> None:
    """Whether the daemon, between two restarts, used what it was allowed."""
    if case is BURSTS:
        return
    used, bar = (use(times, case), USED) if case is ASKED else (usual_use(times, case), USED_IN_HASTE)
    print(f"{case.rate}, {len(times)} calls: {used:.4f} of the ceiling was used")
    assert used >= bar


def test_the_measure_can_fail() -> None:
    times = [n / 100 for n in range(1_000)]
    assert fullest(times, 4.995) == 500
    assert fullest([*times, 9.99, 9.99], 4.995) == 502
    assert use(times, EVEN) == pytest.approx(1.0)
    assert usual_use([n / 95 for n in range(1_000)], EVEN) == pytest.approx(0.95)
