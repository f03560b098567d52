"""Is the provider's ceiling kept, and used, as the provider itself sees it?

The stand-in notes when the last byte of each request came in. In no window of the configured length may there be more
arrivals than the rate allows, also not across a restart; and while a backlog waits at least 98 % of it must be used.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

import pytest

from tests.daemon.harness import Carrier, Site, until

USED = 0.98


@dataclass(frozen=True)
class Case:
    rate: str
    limit: int
    window_s: float
    backlog: int


FAST = Case("500/5s", 500, 5.0, 1_000)
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


def use(times: list[float], case: Case) -> float:
    """The share of the ceiling that was used between the first and the last of these arrivals."""
    allowed = (times[-1] - times[0]) * case.limit / case.window_s
    return (len(times) - 1) / allowed


def stretches(times: list[float], gaps: list[tuple[float, float]]) -> list[list[float]]:
    """The arrivals before, between and after the gaps."""
    out: list[list[float]] = [[]]
    for at in times:
        while gaps and at > gaps[0][0]:
            gaps = gaps[1:]
            out.append([])
        out[-1].append(at)
    return out


@pytest.mark.parametrize(
    ("case", "end"),
    [
        pytest.param(FAST, signal.SIGTERM, id="fast-SIGTERM"),
        pytest.param(FAST, signal.SIGKILL, id="fast-SIGKILL"),
        pytest.param(ASKED, signal.SIGTERM, id="600/min-SIGTERM", marks=pytest.mark.long),
        pytest.param(ASKED, signal.SIGKILL, id="600/min-SIGKILL", marks=pytest.mark.long),
    ],
)
def test_the_ceiling_holds_in_every_window_and_is_used_over_a_restart(
    site: Site, case: Case, end: signal.Signals
) -> None:
    carrier = site.carrier("--latency-ms", "20")
    site.configure(carrier.url, rate=case.rate)
    site.start()
    with site.client() as client:
        client.send_many(case.backlog)
    patience_s = 3 * case.backlog / case.limit * case.window_s
    until(lambda: carrier.stats()["sends"] >= case.backlog // 2, "half of them are sent", patience_s)
    site.signal(end)
    site.wait()
    before = len(carrier.calls())
    site.start()
    site.settled(patience_s)
    times = arrivals(carrier)
    assert carrier.stats()["again"] == 0
    assert carrier.stats()["taken"] == case.backlog
    assert fullest(times, case.window_s) <= case.limit
    for part in (times[:before], times[before:]):
        assert len(part) > case.limit // 2
        assert use(part, case) >= USED, f"{use(part, case):.4f} of the ceiling was used"
