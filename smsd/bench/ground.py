"""On what does a measure stand?

A Bench: a directory, a size, the time that is left, message numbers nobody used yet, and warm daemons. Before any
timing a daemon has sent WARM messages, so that its connections and first imports are not counted. It refuses to know
what is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smsd.bench.load import FIRST, LAST
from smsd.bench.processes import Deadline, MeasureError
from smsd.bench.site import UNLIMITED, Site

WARM: Final = 300
LOAD_S: Final = 60.0
"""Patience with one load."""

Figures = Iterator[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    accept: int
    """Messages, by the socket and in a batch by HTTP."""
    posts: int
    """Messages, one a request by HTTP."""
    deliver: int
    """Messages, with a carrier that answers at once."""
    slow: int
    """Messages, with one that takes 50 ms."""
    latency_s: float
    pending: int
    """Messages lying in the outbox."""
    rounds: int
    """Turns of the two daemons that are compared."""
    ceiling_s: float
    sends: int
    """Runs of `smsd send`."""
    bare_s: float
    """For each bare program."""
    limit_s: float
    """For the whole run."""


FULL: Final = Size(100_000, 30_000, 20_000, 16_000, 10.0, 1_000_000, 5, 8.0, 20, 2.0, 240.0)
QUICK: Final = Size(20_000, 4_000, 4_000, 4_000, 2.0, 100_000, 2, 2.0, 5, 0.5, 60.0)


class Bench:
    """What the measures share: a directory, a size, the time that is left, message numbers nobody used yet."""

    def __init__(self, root: Path, size: Size) -> None:
        self.root = root
        self.size = size
        self.deadline = Deadline(size.limit_s)
        self._sites = 0
        self._next = FIRST

    def numbers(self, count: int) -> int:
        """The first of `count` new message numbers."""
        first, self._next = self._next, self._next + count
        if self._next > LAST:
            raise MeasureError("the message numbers are used up")
        return first

    def directory(self) -> Path:
        """A new one."""
        self._sites += 1
        made = self.root / str(self._sites)
        made.mkdir()
        return made

    @contextmanager
    def site(
        self,
        *,
        latency_ms: float = 0,
        rate: str = "",
        max_in_flight: int = 64,
        idle: Mapping[str, str] | None = None,
        by_http: bool = False,
    ) -> Iterator[Site]:
        """A warm daemon and its carrier; see Site."""
        with Site(
            self.directory(),
            self.deadline,
            latency_ms=latency_ms,
            rate=rate or UNLIMITED,
            max_in_flight=max_in_flight,
            idle=idle,
            by_http=by_http,
        ) as site:
            if not rate:
                with site.load(self.numbers(WARM), WARM) as load:
                    load.run(LOAD_S)
                site.carrier.wait_for(WARM, LOAD_S)
                site.wait_until_settled(LOAD_S)
                site.carrier.forget()
            yield site
