"""How is each figure taken?

One function a measure. It yields (name of the row, value) as it learns them, so that what was learnt before a failure
is kept. What it compares, it measures side by side: a bare program just before the daemon, two daemons in turns,
because a machine drifts by more in an hour than the differences looked for.

A delivery is timed from the first byte of the load to the last message's arrival at the carrier; acceptance and
delivery run together, as they do in life.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smsd.bench import references
from smsd.bench.bars import CEILING_PER_S
from smsd.bench.ground import LOAD_S, WARM, Bench, Figures
from smsd.bench.load import recipient, text
from smsd.bench.processes import Child, MeasureError
from smsd.bench.site import Load, Site, http_load

FILL_S: Final = 120.0
REST_S: Final = 0.5
"""What a daemon is given to come to rest before its memory is read."""
LATENCY_PER_S: Final = 200


# -- accept ------------------------------------------------------------------------------------------------------------


def accept(bench: Bench) -> Figures:
    """The daemon accepts while its only provider is paused; beside it a bare SQLite and a bare socket."""
    count = bench.size.accept
    commits = references.commits(bench.directory() / "bare.db", bench.size.bare_s)
    yield "commits", commits
    lines = _bare_lines(bench, count)
    yield "lines", lines
    with bench.site() as site:
        site.client.pause("main")
        with site.load(bench.numbers(count), count) as load:
            accepted = _rate(load, count)
    yield "accept", accepted
    yield "accept_per_commit", accepted / commits
    yield "accept_share", accepted / lines


def _bare_lines(bench: Bench, count: int) -> float:
    directory = bench.directory()
    path = directory / "s"
    with Child(bench.deadline, directory, "smsd.bench.references", "lines", str(path)) as door:
        door.line()
        given = ("--socket", str(path), "--first", str(bench.numbers(count)), "--count", str(count))
        with Load(bench.deadline, directory, *given) as load:
            return _rate(load, count)


def _rate(load: Load, count: int) -> float:
    result = load.run(LOAD_S)
    return count / (result.ended - result.began) * 1e9


# -- http --------------------------------------------------------------------------------------------------------------


def http(bench: Bench) -> Figures:
    """Accept by HTTP, one a request and in a batch, while the only provider is paused; beside it bare doors."""
    posts, lines = bench.size.posts, bench.size.accept
    yield "http_load", _bare_http(bench, "http", posts)
    web = _bare_http(bench, "web", posts)
    yield "web", web
    accepted = _accepted_by_http(bench, posts)
    yield "http_posts", accepted
    yield "web_share", accepted / web
    yield "batch_load", _bare_http(bench, "http", lines, batch=True)
    yield "http_batch", _accepted_by_http(bench, lines, batch=True)


def _accepted_by_http(bench: Bench, count: int, *, batch: bool = False) -> float:
    with bench.site(by_http=True) as site:
        site.client.pause("main")
        port = site.http_port()
        _by_http(bench, site.directory, port, WARM, batch=batch)
        return _by_http(bench, site.directory, port, count, batch=batch)


def _bare_http(bench: Bench, door: str, count: int, *, batch: bool = False) -> float:
    directory = bench.directory()
    with Child(bench.deadline, directory, "smsd.bench.references", door) as running:
        port = int(running.line())
        _by_http(bench, directory, port, WARM, batch=batch)
        return _by_http(bench, directory, port, count, batch=batch)


def _by_http(bench: Bench, directory: Path, port: int, count: int, *, batch: bool = False) -> float:
    """Messages a second."""
    with http_load(bench.deadline, directory, port, bench.numbers(count), count, batch=batch) as load:
        return _rate(load, count)


# -- deliver -----------------------------------------------------------------------------------------------------------


def deliver(bench: Bench) -> Figures:
    """Accept and deliver together, and what that costs; beside it a bare HTTP client."""
    count = bench.size.deliver
    with bench.site() as site:
        arguments = ("posts", site.carrier.send_url, str(bench.size.bare_s))
        with Child(bench.deadline, site.directory, "smsd.bench.references", *arguments) as client:
            posts = float(client.line(LOAD_S))
        yield "posts", posts
        site.carrier.forget()
        before = site.daemon.cpu_s()
        rate = _delivered(bench, site, count)
        yield "deliver", rate
        yield "deliver_share", rate / posts
        site.wait_until_settled(LOAD_S)
        yield "cpu", (site.daemon.cpu_s() - before) * 10_000 / count


def slow(bench: Bench) -> Figures:
    """The same with a carrier that takes its time, and more calls in flight."""
    with bench.site(latency_ms=50, max_in_flight=256) as site:
        yield "slow", _delivered(bench, site, bench.size.slow)


def _delivered(bench: Bench, site: Site, count: int) -> float:
    """Messages a second from the first byte of a load to its last message's arrival."""
    with site.load(bench.numbers(count), count, fields={"provider": "main"}) as load:
        result = load.run(LOAD_S)
    site.carrier.wait_for(count, LOAD_S)
    last = max(site.carrier.arrivals().values())
    site.carrier.forget()
    return count / (last - result.began) * 1e9


# -- latency, memory ---------------------------------------------------------------------------------------------------


def latency(bench: Bench) -> Figures:
    """From a line's leaving the client to its message's arrival at the carrier, at an even, modest rate.

    Two commits lie between, the message's and the attempt's; beside it, how long a bare one takes.
    """
    commits = references.commits(bench.directory() / "bare.db", bench.size.bare_s)
    warm = LATENCY_PER_S // 2
    count = warm + round(bench.size.latency_s * LATENCY_PER_S)
    with bench.site() as site:
        first = bench.numbers(count)
        with site.load(first, count, rate=LATENCY_PER_S) as load:
            result = load.run(LOAD_S)
        site.carrier.wait_for(count, LOAD_S)
        arrivals = site.carrier.arrivals()
    added = [(arrivals[first + n] - left) / 1e6 for n, left in enumerate(result.sent)]
    hundredths = statistics.quantiles(added[warm:], n=100)
    yield "latency_p50", hundredths[49]
    yield "latency_p99", hundredths[98]
    yield "latency_commits", hundredths[49] / 1_000 * commits


def memory(bench: Bench) -> Figures:
    """Resident memory of a daemon that was just started."""
    with Site(bench.directory(), bench.deadline) as site:
        time.sleep(REST_S)
        yield "memory_idle", site.daemon.memory_mib()


# -- backlog -----------------------------------------------------------------------------------------------------------


def backlog(bench: Bench) -> Figures:
    """What a great number of pending messages costs: memory, the start after a crash, the delivery of others.

    They are due, and wait for a second provider that allows one call an hour. The delivery of others is compared with
    that of a daemon whose outbox is empty; the two take turns, and the medians count.
    """
    pending = bench.size.pending
    with ExitStack() as stack:
        full = stack.enter_context(bench.site(idle={"later": "1/hour"}))
        fields = {"provider": "later", "priority": "bulk"}
        with full.load(bench.numbers(pending), pending, fields=fields) as load:
            load.run(FILL_S)
        time.sleep(REST_S)
        yield "memory_pending", full.daemon.memory_mib()
        full.daemon.kill()
        yield "ready", full.start_daemon()
        empty = stack.enter_context(bench.site(idle={"later": "1/hour"}))
        yield "backlog_share", _compared(bench, full, empty)


def _compared(bench: Bench, full: Site, empty: Site) -> float:
    count = bench.size.deliver // bench.size.rounds
    full.carrier.forget()
    _delivered(bench, full, WARM)
    rates: dict[Site, list[float]] = {full: [], empty: []}
    for turn in range(bench.size.rounds):
        for site in (full, empty) if turn % 2 else (empty, full):
            rates[site].append(_delivered(bench, site, count))
    return statistics.median(rates[full]) / statistics.median(rates[empty])


# -- ceiling, send -----------------------------------------------------------------------------------------------------


def ceiling(bench: Bench) -> Figures:
    """How much of a provider's rate is used while messages wait, and whether it is ever exceeded, as the carrier sees
    it."""
    count = round(CEILING_PER_S * bench.size.ceiling_s) + 1
    with bench.site(rate=f"{CEILING_PER_S}/s") as site:
        with site.load(bench.numbers(count), count) as load:
            load.run(LOAD_S)
        site.carrier.wait_for(count, LOAD_S)
        times = [*site.carrier.arrivals().values()]
    yield "ceiling_share", 100 * (len(times) - 1) / ((times[-1] - times[0]) / 1e9) / CEILING_PER_S
    yield "ceiling_peak", most_within(times, 1_000_000_000)


def most_within(times: Sequence[int], span: int) -> int:
    """The most events in any half-open window of `span`; `times` ascend."""
    most = 0
    window: deque[int] = deque()
    for at in times:
        window.append(at)
        while window[0] <= at - span:
            window.popleft()
        most = max(most, len(window))
    return most


def send(bench: Bench) -> Figures:
    """The whole process of `smsd send`: start, connect, submit, print, end."""
    with bench.site() as site:
        _send_once(bench, site)
        yield "send", statistics.median(_send_once(bench, site) for _ in range(bench.size.sends))


def _send_once(bench: Bench, site: Site) -> float:
    """Milliseconds."""
    number = bench.numbers(1)
    command = ["-m", "smsd", "send", recipient(number), text(number), "--socket", str(site.socket)]
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 -- our own program, with arguments we wrote
        [sys.executable, *command], capture_output=True, timeout=LOAD_S, text=True, check=False
    )
    took = (time.perf_counter() - began) * 1_000
    if done.returncode:
        raise MeasureError(f"`smsd send` ended with {done.returncode}: {done.stderr.strip()}")
    return took


@dataclass(frozen=True, slots=True)
class Measure:
    """A function and the rows it fills."""

    take: Callable[[Bench], Figures]
    rows: tuple[str, ...]


MEASURES: Final[Mapping[str, Measure]] = {
    "accept": Measure(accept, ("accept", "commits", "accept_per_commit", "lines", "accept_share")),
    "http": Measure(http, ("http_posts", "web", "web_share", "http_load", "http_batch", "batch_load")),
    "deliver": Measure(deliver, ("deliver", "posts", "deliver_share", "cpu")),
    "slow": Measure(slow, ("slow",)),
    "latency": Measure(latency, ("latency_p50", "latency_p99", "latency_commits")),
    "memory": Measure(memory, ("memory_idle",)),
    "backlog": Measure(backlog, ("memory_pending", "ready", "backlog_share")),
    "ceiling": Measure(ceiling, ("ceiling_share", "ceiling_peak")),
    "send": Measure(send, ("send",)),
}
"""In the order in which they are taken."""
