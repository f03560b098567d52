"""What is measured, and how good must it be?

One Row per figure of the table: its unit, its bar (what a release must hold) and its goal. Bars and goals are for a
machine with two cores and a disk whose fdatasync takes about 0.15 ms; elsewhere the rows without a bar (what a bare
SQLite, a bare socket and bare HTTP programs reach in the same run) say more, because ratios travel between machines
and absolute figures do not. It refuses to know how anything is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the table."""

    name: str
    title: str
    unit: str
    bar: float | None = None
    goal: float | None = None
    less_is_better: bool = False
    digits: int = 0
    """Behind the decimal point, when it is shown to a person."""

    def verdict(self, value: float) -> str:
        """`goal`, `bar`, `missed`, or "" for a figure that is only a reference."""
        if self.goal is not None and self._reaches(value, self.goal):
            return "goal"
        if self.bar is not None:
            return "bar" if self._reaches(value, self.bar) else "missed"
        return "" if self.goal is None else "below goal"

    def _reaches(self, value: float, wanted: float) -> bool:
        return value <= wanted if self.less_is_better else value >= wanted


CEILING_PER_S: Final = 500
"""The rate of the provider whose use is measured."""

_ROWS: Final = (
    Row("accept", "accept by socket, one client, pipelined", "messages/s", 20_000, 40_000),
    Row("commits", "  bare sqlite3, WAL, FULL, one row a commit", "commits/s"),
    Row("accept_per_commit", "  messages accepted per bare commit", "x", digits=1),
    Row("lines", "  bare socket: decode a line, answer it", "lines/s"),
    Row("accept_share", "  share of the bare socket", "x", digits=3),
    Row("http_posts", "accept by HTTP, a post a message, 32 connections", "messages/s", 3_000, 6_000),
    Row("web", "  bare aiohttp.web: decode a post, answer it", "requests/s"),
    Row("web_share", "  share of the bare aiohttp.web", "x", digits=3),
    Row("http_load", "  the same load on a door made by hand", "requests/s"),
    Row("http_batch", "accept by HTTP, one batch, read while it is written", "messages/s", 15_000, 30_000),
    Row("batch_load", "  the same load on a door made by hand", "lines/s"),
    Row("deliver", "accept and deliver together, carrier answers at once", "messages/s", 3_000, 4_200),
    Row("posts", "  bare aiohttp client, same carrier", "requests/s"),
    Row("deliver_share", "  share of the bare client", "x", None, 0.4, digits=3),
    Row("cpu", "  CPU of the daemon for 10,000 messages", "s", 4, 2.3, less_is_better=True, digits=2),
    Row("slow", "end to end, carrier answers after 50 ms, 256 in flight", "messages/s", 2_500, 4_000),
    Row("latency_p50", "added latency at 200 messages/s, median", "ms", 2, 1, less_is_better=True, digits=2),
    Row("latency_p99", "added latency at 200 messages/s, 99th of 100", "ms", 8, 3, less_is_better=True, digits=2),
    Row("latency_commits", "  the median, in bare commits of one row", "commits", digits=1),
    Row("memory_idle", "memory, idle", "MiB", 70, 50, less_is_better=True, digits=1),
    Row("memory_pending", "memory, {pending:,} pending", "MiB", 150, 100, less_is_better=True, digits=1),
    Row("ready", "ready after kill -9, {pending:,} pending", "s", 2, 1, less_is_better=True, digits=2),
    Row("backlog_share", "delivery with {pending:,} pending against none", "x", 0.9, 0.98, digits=3),
    Row("ceiling_share", f"use of a provider's {CEILING_PER_S}/s", "%", 98, 99.5, digits=2),
    Row(
        "ceiling_peak",
        "  most calls in any window of one second",
        "calls",
        CEILING_PER_S,
        CEILING_PER_S,
        less_is_better=True,
    ),
    Row("send", "`smsd send`, whole process, median", "ms", 150, 80, less_is_better=True, digits=1),
)

ROWS: Final[Mapping[str, Row]] = {row.name: row for row in _ROWS}
"""In the order of the table."""
