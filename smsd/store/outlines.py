"""What does the look ahead need to know of what waits?

Functions of an open reading connection: how much waits in each flow and when it is due, the place of one message in its
flow, what was charged to a limit lately. All of it is bounded: of many messages every n-th is read, from an index
alone, and of very many flows the largest. Nothing is foretold here (`core.forecast`), and nothing written.
"""

from __future__ import annotations

from typing import Any

from smsd.core.bunches import Line
from smsd.core.message import Instant, Priority
from smsd.store.binding import MAX_INTEGER
from smsd.store.connection import Handle
from smsd.store.statements.ahead import ALL_LINES, DUES, FIRST_SEGMENTS, LINES, PLACE, PLACE_FROM_BEHIND, SPAN_OF_FLOW
from smsd.store.statements.charging import CHARGED_AT, CHARGED_BEFORE

SAMPLED = 20_000
"""Messages numbered, at most, to read every n-th of them: some 10 ms."""

POINTS = 64
"""Due times of one flow, about; and flows whose messages' segments are looked at."""

FIRST = 16
"""Messages of a flow whose segments stand for all of it."""

COUNTED = 20_000
"""How far a message's place is counted, from either end: some 3 ms."""


def lines(db: Handle, most: int, now: Instant) -> tuple[Line, ...]:
    """What waits, by flows, the largest `most` of them first; then the others, as one flow (of no tenant, its number
    below 0) for each route and priority."""
    found: list[Any] = db.execute(LINES, (most,)).fetchall()
    left = SAMPLED
    made: list[Line] = []
    for number, (id, route, priority, tenant, campaign, pending, next_due, last_due) in enumerate(found):
        dues: tuple[Instant, ...] = (last_due,)
        segments: float | None = None
        if last_due > now and pending <= left and number < POINTS:
            left -= pending
            dues, segments = _sampled(db, id, pending, next_due, last_due)
        elif last_due > now:
            dues = _evenly(max(now, next_due), last_due)
        if segments is None and number < POINTS:
            segments = db.execute(FIRST_SEGMENTS, (id, FIRST)).fetchone()[0]
        mean = _mean(made) if segments is None else segments
        made.append(Line(id, route, Priority(priority), tenant, campaign, pending, dues, mean))
    if len(found) == most:
        made += _others(db, made)
    return tuple(made)


def _sampled(
    db: Handle, flow: int, pending: int, next_due: Instant, last_due: Instant
) -> tuple[tuple[Instant, ...], float | None]:
    """Its due times and the mean of its segments, from every n-th of its messages."""
    step = -(-pending // POINTS)
    found: list[Any] = db.execute(DUES, (flow, step)).fetchall()
    if not found:
        return (last_due,), None
    dues = [due for due, _ in found]
    if step > 1:
        dues = [next_due, *dues, last_due]
    return tuple(dues), sum(segments for _, segments in found) / len(found)


def _evenly(first: Instant, last: Instant) -> tuple[Instant, ...]:
    """Too many to look at: taken as spread over the time between the first and the last."""
    return tuple(first + (last - first) * point // (POINTS - 1) for point in range(POINTS))


def _mean(made: list[Line]) -> float:
    return sum(line.segments for line in made) / len(made) if made else 1.0


def _others(db: Handle, made: list[Line]) -> list[Line]:
    """What waits in the flows that are not listed."""
    listed: dict[tuple[str, int], int] = {}
    for line in made:
        key = (line.route, int(line.priority))
        listed[key] = listed.get(key, 0) + line.pending
    rest: list[Line] = []
    for route, priority, pending, due in db.execute(ALL_LINES).fetchall():
        left = pending - listed.get((route, priority), 0)
        if left > 0:
            number = -1 - len(rest)
            rest.append(Line(number, route, Priority(priority), f"\0{number}", None, left, (due,), _mean(made)))
    return rest


def place(db: Handle, flow: int, due: Instant, seq: int) -> int:
    """How many pending messages of the flow go before the one with this (due, seq).

    Exact within COUNTED of either end. In between it is taken to lie as its number lies between the first and the last,
    which is so where messages are due in the order in which they were accepted.
    """
    before: int = db.execute(PLACE, (flow, due, seq, COUNTED)).fetchone()[0]
    if before < COUNTED:
        return before
    pending, first, last = db.execute(SPAN_OF_FLOW, (flow,)).fetchone() or (before + 1, seq, seq)
    behind: int = db.execute(PLACE_FROM_BEHIND, (flow, due, seq, COUNTED)).fetchone()[0]
    latest: int = max(before, pending - behind - 1)
    if behind < COUNTED or first is None or first >= last:
        return latest
    part: float = min(1.0, max(0.0, (seq - first) / (last - first)))
    return max(before, min(latest, round(part * (pending - 1))))


def charged(db: Handle, boot: int, kind: int, key: str, most: int, step: int) -> tuple[tuple[Instant, int | None], ...]:
    """The newest `most` charges under a key, the newest first, and of these every `step`-th: the wall time, and the
    boot time (us) if it was in this boot."""
    found: list[tuple[Instant, int | None]] = []
    nr = MAX_INTEGER
    for _ in range(most // step):  # in between, only the index is walked
        row = db.execute(CHARGED_BEFORE, (kind, key, nr, step - 1)).fetchone()
        if row is None:
            break
        nr = row[0]
        at, in_boot, boot_us = db.execute(CHARGED_AT, (nr,)).fetchone()
        found.append((at, boot_us if in_boot == boot else None))
    return tuple(found)
